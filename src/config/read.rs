//! A typed reader over a TOML document, which collects every problem instead of the first one.
//!
//! A [`Table`] is asked for its keys one by one; a wrong value is reported and the default stands
//! in for it, so that reading goes on. At the end [`Table::finish`] reports the keys that nobody
//! asked for. As long as [`Reader::finish`] finds problems, no configuration leaves this module.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use super::error::{Errors, Problem, Source};
use super::interpolate::Env;

mod table;
mod value;

pub(super) use table::{Table, is_name};
pub(super) use value::{Value, Written};

/// What reading needs everywhere: the environment, and the problems found so far.
///
/// Interior mutability, because tables and values that are read side by side all report here.
pub(super) struct Reader<'a> {
    env: &'a dyn Env,
    source: RefCell<Source>,
    found: RefCell<Vec<(Kind, Problem)>>,
}

/// What a problem is about, which tells whether it may be the consequence of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The file is not TOML there.
    Syntax,
    /// A value is wrong, whatever stands around it.
    Value,
    /// Something is missing, or does not fit to what stands elsewhere. A table header that could
    /// not be read has the same effect, so these are not reported next to syntax errors.
    Structure,
}

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The key, such as `upstreams.chat.endpoints[1].url`.
    pub path: String,
    /// The bytes.
    pub span: Range<usize>,
}

impl Place {
    /// Of a key that is not in the file and has its default.
    pub(super) fn unwritten(path: &str) -> Self {
        Self { path: path.to_owned(), span: 0..0 }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &str, env: &'a dyn Env) -> Self {
        Self { env, source: RefCell::new(Source::new(source)), found: RefCell::default() }
    }

    /// Reports what the TOML parser has found.
    pub(super) fn syntax_error(&self, message: &str, span: Option<Range<usize>>) {
        let place = Place { path: String::new(), span: span.unwrap_or(0..0) };
        self.report(Kind::Syntax, &place, message.to_owned());
    }

    /// Reports that what is written at `place` is wrong.
    pub(super) fn problem(&self, place: &Place, message: impl Into<String>) {
        self.report(Kind::Value, place, message.into());
    }

    /// Reports that something is missing at `place`, or that it does not fit to the rest.
    pub(super) fn misplaced(&self, place: &Place, message: impl Into<String>) {
        self.report(Kind::Structure, place, message.into());
    }

    /// A number that grows with every problem, to see whether a part was read without any.
    pub(super) fn problems(&self) -> usize {
        self.found.borrow().len()
    }

    /// `key (line 3)`, for messages that point to another place.
    pub(super) fn pointer(&self, place: &Place) -> String {
        if place.span.is_empty() {
            return format!("{} (its default)", place.path);
        }
        format!("{} (line {})", place.path, self.source.borrow().line_of(place.span.start))
    }

    /// The problems, if there are any.
    pub(super) fn finish(self, origin: &str) -> Result<(), Errors> {
        let found = self.found.into_inner();
        if found.is_empty() {
            return Ok(());
        }
        Err(Errors::new(origin, self.source.into_inner(), without_consequences(found)))
    }

    /// The text of a secret is not to be shown.
    fn mask(&self, span: Range<usize>) {
        self.source.borrow_mut().mask(span);
    }

    fn report(&self, kind: Kind, place: &Place, message: String) {
        let Place { path, span } = place.clone();
        let line = self.source.borrow().line_of(span.start);
        self.found.borrow_mut().push((kind, Problem { line, path, message, span }));
    }
}

/// Leaves out what is most likely the consequence of a syntax error: the same error again (an array
/// that is not closed goes on to the end of the file), further ones in its line, values in its
/// line, and everything about the structure.
fn without_consequences(found: Vec<(Kind, Problem)>) -> Vec<Problem> {
    let (syntax, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(kind, _)| *kind == Kind::Syntax);
    let mut broken_lines = HashSet::new();
    let mut problems: Vec<Problem> = Vec::new();
    for (_, problem) in syntax {
        let is_again = problems.last().is_some_and(|last| last.message == problem.message);
        if broken_lines.insert(problem.line) && !is_again {
            problems.push(problem);
        }
    }
    let others = others
        .into_iter()
        .filter(|(kind, _)| *kind == Kind::Value || broken_lines.is_empty())
        .filter(|(_, problem)| !broken_lines.contains(&problem.line));
    problems.extend(others.map(|(_, problem)| problem));
    problems
}
