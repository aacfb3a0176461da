//! A typed reader over TOML documents, which collects every problem instead of the first one.
//!
//! A [`Document`] is a file; the root [`Table`] has the keys of all of them. A table is asked for
//! its keys one by one; a wrong value is reported and the default stands in for it, so that reading
//! goes on. At the end [`Table::finish`] reports the keys that nobody asked for. As long as
//! [`Reader::finish`] finds problems, no configuration leaves this module.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;

use toml::de::DeTable;

use super::error::{Errors, Problem};
use super::interpolate::Env;
use super::source::Sources;

mod table;
mod value;

pub(super) use table::{Table, is_name};
pub(super) use value::{Value, Written};

/// What reading needs everywhere: the environment, and the problems found so far.
///
/// Interior mutability, because tables and values that are read side by side all report here.
pub(super) struct Reader<'a> {
    env: &'a dyn Env,
    sources: RefCell<Sources>,
    found: RefCell<Vec<(Kind, Problem)>>,
    /// Whether there are files that could not be read.
    is_incomplete: Cell<bool>,
}

/// What a problem is about, which tells whether it may be the consequence of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The file is not TOML there.
    Syntax,
    /// A value is wrong, whatever stands around it.
    Value,
    /// A table lacks a key, or has one that it does not know. A header that could not be read has
    /// the same effect, so these are not reported next to syntax errors of the same file.
    Key,
    /// Something is missing, or does not fit to what stands elsewhere, perhaps in another file. So
    /// these are not reported next to any syntax error, and not if a file could not be read.
    Structure,
}

/// A place in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The key, such as `upstreams.chat.endpoints[1].url`.
    pub path: String,
    /// Which file.
    pub file: usize,
    /// The bytes.
    pub span: Range<usize>,
}

impl Place {
    /// Of a key that is in no file and has its default.
    pub(super) fn unwritten(path: &str) -> Self {
        Self { path: path.to_owned(), file: 0, span: 0..0 }
    }

    /// Whether there is nothing to point at, because the key has its default.
    pub(super) fn is_unwritten(&self) -> bool {
        self.span.is_empty()
    }

    /// What places are sorted by: the order in which the files are read and in them from the top.
    pub(super) fn position(&self) -> (usize, usize) {
        (self.file, self.span.start)
    }
}

/// A file that was parsed.
pub(super) struct Document<'a> {
    file: usize,
    root: toml::Spanned<DeTable<'a>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env: &'a dyn Env) -> Self {
        Self {
            env,
            sources: RefCell::default(),
            found: RefCell::default(),
            is_incomplete: Cell::new(false),
        }
    }

    /// Parses a file, which messages call `origin`; reports what is not TOML in it.
    pub(super) fn document<'t>(&self, origin: &str, text: &'t str) -> Document<'t> {
        let file = self.sources.borrow_mut().add(origin, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = Place { path: String::new(), file, span: error.span().unwrap_or(0..0) };
            self.report(Kind::Syntax, &place, error.message().to_owned());
        }
        Document { file, root }
    }

    /// Reports that what is written at `place` is wrong.
    pub(super) fn problem(&self, place: &Place, message: impl Into<String>) {
        self.report(Kind::Value, place, message.into());
    }

    /// Reports that something is missing at `place`, or that it does not fit to the rest.
    pub(super) fn misplaced(&self, place: &Place, message: impl Into<String>) {
        self.report(Kind::Structure, place, message.into());
    }

    /// Reports a key that should be at `place` and is not, or is and should not be.
    fn wrong_key(&self, place: &Place, message: impl Into<String>) {
        self.report(Kind::Key, place, message.into());
    }

    /// Some files were not read: what is missed may be in them.
    pub(super) fn lacks_files(&self) {
        self.is_incomplete.set(true);
    }

    /// A number that grows with every problem, to see whether a part was read without any.
    pub(super) fn problems(&self) -> usize {
        self.found.borrow().len()
    }

    /// `key (line 3)`, for messages that point to another place; `key (file:3)` if there are
    /// several files.
    pub(super) fn pointer(&self, place: &Place) -> String {
        if place.is_unwritten() {
            return format!("{} (its default)", place.path);
        }
        format!("{} ({})", place.path, self.sources.borrow().position(place))
    }

    /// The problems, if there are any.
    pub(super) fn finish(self) -> Result<(), Errors> {
        let found = self.found.into_inner();
        if found.is_empty() {
            return Ok(());
        }
        let problems = without_consequences(found, self.is_incomplete.get());
        Err(Errors::new(self.sources.into_inner(), problems))
    }

    /// The text of a secret is not to be shown.
    fn mask(&self, place: &Place) {
        self.sources.borrow_mut().mask(place);
    }

    fn report(&self, kind: Kind, place: &Place, message: String) {
        let line = self.sources.borrow().line_of(place);
        let Place { path, file, span } = place.clone();
        self.found.borrow_mut().push((kind, Problem { line, path, message, file, span }));
    }
}

/// Leaves out what is most likely the consequence of a syntax error: the same error again (an array
/// that is not closed goes on to the end of the file), further ones in its line, values in its
/// line, and everything about the structure; the latter also if the files `are_incomplete`.
fn without_consequences(found: Vec<(Kind, Problem)>, are_incomplete: bool) -> Vec<Problem> {
    let (syntax, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(kind, _)| *kind == Kind::Syntax);
    let (mut broken_lines, mut broken_files) = (HashSet::new(), HashSet::new());
    let mut problems: Vec<Problem> = Vec::new();
    for (_, problem) in syntax {
        let is_again = problems
            .last()
            .is_some_and(|last| last.file == problem.file && last.message == problem.message);
        broken_files.insert(problem.file);
        if broken_lines.insert((problem.file, problem.line)) && !is_again {
            problems.push(problem);
        }
    }
    let others = others.into_iter().filter(|(kind, problem)| match kind {
        Kind::Syntax | Kind::Value => !broken_lines.contains(&(problem.file, problem.line)),
        Kind::Key => !broken_files.contains(&problem.file),
        Kind::Structure => broken_files.is_empty() && !are_incomplete,
    });
    problems.extend(others.map(|(_, problem)| problem));
    problems
}
