//! The texts of the files, to say where something stands and to show its line.

use std::ops::Range;

use super::read::Place;

/// All files of one configuration; a [`Place`] names one by its index. The first is the one that
/// names the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file, which messages call `origin`; gives its index.
    pub(super) fn add(&mut self, origin: &str, text: &str) -> usize {
        self.0.push(Source::new(origin, text));
        self.0.len() - 1
    }

    /// The file `index`, which [`Sources::add`] has given.
    pub(super) fn file(&self, index: usize) -> &Source {
        &self.0[index]
    }

    /// The number of the line in its file where `place` begins, from 1.
    pub(super) fn line_of(&self, place: &Place) -> usize {
        self.file(place.file).line_of(place.span.start)
    }

    /// `line 3`, with the file if there are several.
    pub(super) fn position(&self, place: &Place) -> String {
        let line = self.line_of(place);
        if self.0.len() == 1 {
            return format!("line {line}");
        }
        format!("{}:{line}", self.file(place.file).origin)
    }

    /// Replaces what is written at `secret` by stars.
    pub(super) fn mask(&mut self, secret: &Place) {
        self.0[secret.file].mask(secret.span.clone());
    }
}

/// The text of a file, with its lines found once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// What messages call it.
    pub origin: String,
    text: String,
    /// Where each line begins; never empty, ascending.
    line_starts: Vec<usize>,
}

impl Source {
    fn new(origin: &str, text: &str) -> Self {
        let after_line_ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_line_ends).collect();
        Self { origin: origin.to_owned(), text: text.to_owned(), line_starts }
    }

    /// The number of the line that holds byte `at`, from 1.
    fn line_of(&self, at: usize) -> usize {
        // The place after the last line end belongs to the last line that has text.
        let at = if at >= self.text.len() { self.text.trim_end().len() } else { at };
        self.line_starts.partition_point(|start| *start <= at).max(1)
    }

    /// The text of line `number` without its end, and where of it `span` is, as far as it is there.
    pub(super) fn line(&self, number: usize, span: &Range<usize>) -> (&str, Range<usize>) {
        let start = self.line_starts[(number - 1).min(self.line_starts.len() - 1)];
        let text = self.text[start..].split('\n').next().unwrap_or_default();
        let text = text.trim_end_matches('\r');
        let from = span.start.clamp(start, start + text.len()) - start;
        let to = span.end.clamp(start + from, start + text.len()) - start;
        (text, from..to)
    }

    /// The stars are as many as the bytes were, because the spans of problems count bytes.
    fn mask(&mut self, secret: Range<usize>) {
        if self.text.get(secret.clone()).is_none() {
            return;
        }
        let stars: String = self.text[secret.clone()]
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { '*' })
            .collect();
        self.text.replace_range(secret, &stars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("x.toml", text)
    }

    #[test]
    fn a_masked_secret_keeps_its_length() {
        let mut source = source("token = \"härte\"\nx = 1\n");
        source.mask(9..15);
        assert_eq!(source.text, "token = \"******\"\nx = 1\n");
        source.mask(10..1000);
        assert_eq!(source.line_of(18), 2);
    }

    #[test]
    fn the_end_of_the_file_is_on_its_last_written_line() {
        assert_eq!(source("").line_of(0), 1);
        assert_eq!(source("a = 1\nb =").line_of(9), 2);
        assert_eq!(source("a = 1\nb =\n").line_of(10), 2);
    }

    #[test]
    fn a_line_is_shown_with_as_much_of_the_span_as_is_in_it() {
        let source = source("[a]\r\nb = [\n0]\n");
        assert_eq!(source.line(1, &(1..2)), ("[a]", 1..2));
        assert_eq!(source.line(2, &(9..13)), ("b = [", 4..5));
        assert_eq!(source.line(3, &(1..2)), ("0]", 0..0));
    }

    #[test]
    fn a_position_names_the_file_only_if_there_are_several() {
        let mut sources = Sources::default();
        let place = |file| Place { path: String::new(), file, span: 6..7 };
        let first = place(sources.add("a.toml", "a = 1\nb = 2\n"));
        assert_eq!(sources.position(&first), "line 2");
        let second = place(sources.add("b.toml", "a = 1 # one line\n"));
        assert_eq!(sources.position(&first), "a.toml:2");
        assert_eq!(sources.position(&second), "b.toml:1");
    }
}
