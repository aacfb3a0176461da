//! The problems of a configuration, all of them at once, whichever file they are in.
//!
//! Two forms: one line each (`Display`, for logs and tests) and with the source line as rustc
//! shows it ([`Errors::render`], for people).

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::source::Sources;

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in its file, from 1.
    pub line: usize,
    /// The key, such as `upstreams.chat.endpoints[1].url`; empty if the file as a whole is meant.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
    /// Which of the files it is in.
    pub(super) file: usize,
    /// The bytes in the file that are meant.
    pub(super) span: Range<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// `text` in quotes, on one line and not too long, as it stands in messages.
pub(super) fn quoted(text: &str) -> String {
    let shown = shortened(text);
    let dots = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{dots}")
}

/// The beginning of `text`, which is nearly always all of it.
pub(super) fn shortened(text: &str) -> &str {
    text.char_indices().nth(SHOWN_MAX_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Longer texts are cut in messages, which shall stay one line that can be read.
const SHOWN_MAX_CHARS: usize = 80;

/// All problems of one configuration, in the order of files and places. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Errors {
    sources: Sources,
    problems: Vec<Problem>,
}

impl Errors {
    /// `sources` have their secrets masked already, because their lines are shown.
    pub(super) fn new(sources: Sources, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.file, problem.span.start));
        Self { sources, problems }
    }

    /// The problems by file and position.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// The name of the file that `problem`, one of these, is in.
    pub fn origin_of(&self, problem: &Problem) -> &str {
        &self.sources.file(problem.file).origin
    }

    /// Every problem with its source line as rustc shows it, and a last line that counts them.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&self.render_one(problem, &renderer));
            text.push_str("\n\n");
        }
        let plural = if self.problems.len() == 1 { "error" } else { "errors" };
        text.push_str(&format!("{} {plural} in {}\n", self.problems.len(), self.where_all_are()));
        text
    }

    /// Only the line in question is handed to the renderer: it walks through all it is given, and
    /// a broken file may have thousands of problems.
    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let source = self.sources.file(problem.file);
        let (line, span) = source.line(problem.line, &problem.span);
        let snippet = Snippet::source(line)
            .line_start(problem.line)
            .path(&source.origin)
            .annotation(AnnotationKind::Primary.span(span));
        let report = [Level::ERROR.primary_title(problem.to_string()).element(snippet)];
        renderer.render(&report)
    }

    /// The one file, or how many they are. The problems are sorted by file.
    fn where_all_are(&self) -> String {
        match self.problems.chunk_by(|a, b| a.file == b.file).count() {
            1 => self.origin_of(&self.problems[0]).to_owned(),
            files => format!("{files} files"),
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:{}: {problem}", self.origin_of(problem), problem.line)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Errors {
    /// The lines of `Display`; the source text would only be in the way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errors({self})")
    }
}

impl std::error::Error for Errors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(file: usize, line: usize, span: Range<usize>, message: &str) -> Problem {
        Problem { line, path: "a.b".to_owned(), message: message.to_owned(), file, span }
    }

    #[test]
    fn problems_are_sorted_and_shown_with_their_line() {
        let mut sources = Sources::default();
        sources.add("x.toml", "[a]\r\nb = 0\nc = 1\n");
        let problems =
            vec![problem(0, 3, 15..16, "second"), problem(0, 2, 9..10, "expected 1, found 0")];
        let errors = Errors::new(sources, problems);
        assert_eq!(errors.to_string(), "x.toml:2: a.b: expected 1, found 0\nx.toml:3: a.b: second");
        assert_eq!(
            errors.render(false),
            "error: a.b: expected 1, found 0\n \
             --> x.toml:2:5\n  |\n2 | b = 0\n  |     ^\n\n\
             error: a.b: second\n \
             --> x.toml:3:5\n  |\n3 | c = 1\n  |     ^\n\n\
             2 errors in x.toml\n"
        );
        assert!(errors.render(true).contains('\u{1b}'), "colors only on request");
    }

    #[test]
    fn each_problem_is_shown_in_its_own_file() {
        let mut sources = Sources::default();
        sources.add("x.toml", "x = 0\n");
        sources.add("y.toml", "\n\ny = 1\n");
        let problems = vec![problem(1, 3, 6..7, "in y"), problem(0, 1, 4..5, "in x")];
        let errors = Errors::new(sources, problems);
        assert_eq!(errors.to_string(), "x.toml:1: a.b: in x\ny.toml:3: a.b: in y");
        let shown = errors.render(false);
        assert!(shown.contains("x.toml:1:5\n  |\n1 | x = 0\n"), "{shown}");
        assert!(shown.contains("y.toml:3:5\n  |\n3 | y = 1\n"), "{shown}");
        assert!(shown.ends_with("2 errors in 2 files\n"), "{shown}");
    }
}
