//! The problems of a configuration file, all of them at once.
//!
//! Two forms: one line each (`Display`, for logs and tests) and with the source line as rustc
//! shows it ([`Errors::render`], for people).

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One problem of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1.
    pub line: usize,
    /// The key, such as `upstreams.chat.endpoints[1].url`; empty if the file as a whole is meant.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
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

/// All problems of one configuration file, in the order of their places. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Errors {
    origin: String,
    source: Source,
    problems: Vec<Problem>,
}

impl Errors {
    /// `source` has its secrets masked already, because its lines are shown.
    pub(super) fn new(origin: &str, source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        Self { origin: origin.to_owned(), source, problems }
    }

    /// The name of the file.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The problems by position.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
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
        text.push_str(&format!("{} {plural} in {}\n", self.problems.len(), self.origin));
        text
    }

    /// Only the line in question is handed to the renderer: it walks through all it is given, and
    /// a broken file may have thousands of problems.
    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let line = self.source.line_range(problem.line);
        let start = problem.span.start.clamp(line.start, line.end);
        let end = problem.span.end.clamp(start, line.end);
        let snippet = Snippet::source(&self.source.text[line.clone()])
            .line_start(problem.line)
            .path(&self.origin)
            .annotation(AnnotationKind::Primary.span(start - line.start..end - line.start));
        let report = [Level::ERROR.primary_title(problem.to_string()).element(snippet)];
        renderer.render(&report)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:{}: {problem}", self.origin, problem.line)?;
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

/// The text of the file, with its lines found once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    text: String,
    /// Where each line begins; never empty, ascending.
    line_starts: Vec<usize>,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let after_line_ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_line_ends).collect();
        Self { text: text.to_owned(), line_starts }
    }

    /// The number of the line that holds byte `at`, from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        // The place after the last line end belongs to the last line that has text.
        let at = if at >= self.text.len() { self.text.trim_end().len() } else { at };
        self.line_starts.partition_point(|start| *start <= at).max(1)
    }

    /// Replaces the bytes of `secret` by stars, of which there are as many as before, because
    /// the spans of problems count bytes.
    pub(super) fn mask(&mut self, secret: Range<usize>) {
        if self.text.get(secret.clone()).is_none() {
            return;
        }
        let stars: String = self.text[secret.clone()]
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { '*' })
            .collect();
        self.text.replace_range(secret, &stars);
    }

    /// The bytes of line `number`, without its end.
    fn line_range(&self, number: usize) -> Range<usize> {
        let start = self.line_starts[(number - 1).min(self.line_starts.len() - 1)];
        let length = self.text[start..].find('\n').unwrap_or(self.text.len() - start);
        let line = self.text[start..start + length].trim_end_matches('\r');
        start..start + line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(source: &Source, span: Range<usize>, message: &str) -> Problem {
        let line = source.line_of(span.start);
        Problem { line, path: "a.b".to_owned(), message: message.to_owned(), span }
    }

    #[test]
    fn problems_are_sorted_and_shown_with_their_line() {
        let source = Source::new("[a]\r\nb = 0\nc = 1\n");
        let problems = vec![
            problem(&source, 15..16, "second"),
            problem(&source, 9..10, "expected 1, found 0"),
        ];
        let errors = Errors::new("x.toml", source, problems);
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
    fn a_masked_secret_keeps_its_length() {
        let mut source = Source::new("token = \"härte\"\nx = 1\n");
        source.mask(9..15);
        assert_eq!(source.text, "token = \"******\"\nx = 1\n");
        source.mask(10..1000);
        assert_eq!(source.line_of(18), 2);
    }

    #[test]
    fn the_end_of_the_file_is_on_its_last_written_line() {
        assert_eq!(Source::new("").line_of(0), 1);
        assert_eq!(Source::new("a = 1\nb =").line_of(9), 2);
        assert_eq!(Source::new("a = 1\nb =\n").line_of(10), 2);
    }
}
