//! Header fields in the order and the case in which they came.

/// One field line, without its colon and line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was written.
    pub name: &'a [u8],
    /// The value without surrounding white space.
    pub value: &'a [u8],
}

/// A list of fields. Names compare without case (RFC 9110 §5.1); order and case are kept.
///
/// A vector rather than a map: heads have a dozen fields, and each is looked at once or twice. The
/// text of all of them is in one buffer, what was removed included, so that to copy a list, which
/// every request needs, is to copy two vectors.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    text: Vec<u8>,
    lines: Vec<Line>,
}

/// Where the parts of a field are in the text.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: Span,
    value: Span,
}

/// A part of the text, of which there can be no gigabytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

/// Room to leave for a field that is added.
const TYPICAL_BYTES: usize = 40;

impl Fields {
    /// An empty list with room for `capacity` fields.
    pub fn with_capacity(capacity: usize) -> Self {
        Self::of_text(&[], 0, capacity)
    }

    /// With that text, and room for `count` fields in it and `more`.
    fn of_text(from: &[u8], count: usize, more: usize) -> Self {
        let mut text = Vec::with_capacity(from.len() + more * TYPICAL_BYTES);
        text.extend_from_slice(from);
        Self { text, lines: Vec::with_capacity(count + more) }
    }

    /// Those of a head, each a name and a value that are parts of its text, `raw`; with room for
    /// `more`.
    pub(super) fn parsed<'r>(
        raw: &'r [u8],
        parts: impl ExactSizeIterator<Item = (&'r [u8], &'r [u8])>,
        more: usize,
    ) -> Self {
        let mut fields = Self::of_text(raw, parts.len(), more);
        let span = |part: &[u8]| match part.is_empty() {
            true => Span::new(0, 0),
            false => Span::new(part.as_ptr() as usize - raw.as_ptr() as usize, part.len()),
        };
        let lines = parts.map(|(name, value)| Line { name: span(name), value: span(value) });
        fields.lines.extend(lines);
        fields
    }

    /// A copy with room for `more`.
    pub fn with_room(&self, more: usize) -> Self {
        let mut copy = Self::of_text(&self.text, self.count(), more);
        copy.lines.extend_from_slice(&self.lines);
        copy
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|line| line.field(&self.text))
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let line = self.lines.iter().find(|line| line.is(name, &self.text))?;
        Some(line.value.of(&self.text))
    }

    /// The values of all fields of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.lines.iter().filter(|line| line.is(name, &self.text));
        lines.map(|line| line.value.of(&self.text))
    }

    /// Whether there is a field of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The comma-separated members of all fields of that name, trimmed, empty ones left out
    /// (RFC 9110 §5.6.1.2).
    pub fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.is_empty())
    }

    /// Whether a comma-separated field has that member, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Adds a field at the end.
    pub fn append(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push(name.as_ref(), |text| text.extend_from_slice(value.as_ref()));
    }

    /// Replaces all fields of that name by one at the end.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.set_with(name, |text| text.extend_from_slice(value.as_ref()));
    }

    /// The same, with what `write` appends for a value.
    pub fn set_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.remove(name);
        self.push(name.as_bytes(), write);
    }

    fn push(&mut self, name: &[u8], write_value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let middle = self.text.len();
        write_value(&mut self.text);
        let value = Span::new(middle, self.text.len() - middle);
        self.lines.push(Line { name: Span::new(start, name.len()), value });
    }

    /// Removes all fields of that name.
    pub fn remove(&mut self, name: &str) {
        self.lines.retain(|line| !line.is(name, &self.text));
    }

    /// Keeps the fields for which `keep` says yes.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        self.lines.retain(|line| keep(line.field(&self.text)));
    }
}

impl Line {
    fn field(self, text: &[u8]) -> Field<'_> {
        Field { name: self.name.of(text), value: self.value.of(text) }
    }

    /// Whether that is its name. Most have another length, and are not looked at.
    fn is(self, name: &str, text: &[u8]) -> bool {
        self.name.length as usize == name.len()
            && self.name.of(text).eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Span {
    fn new(start: usize, length: usize) -> Self {
        Self { start: start as u32, length: length as u32 }
    }

    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..][..self.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in list {
            fields.append(*name, *value);
        }
        fields
    }

    #[test]
    fn names_compare_without_case_and_keep_theirs() {
        let mut fields = fields(&[("X-One", "1"), ("x-one", "2"), ("Two", "3")]);
        assert_eq!(fields.all("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(fields.iter().next().unwrap().name, b"X-One");
        fields.set("x-ONE", "4");
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names, [&b"Two"[..], b"x-ONE"]);
    }

    #[test]
    fn lists_are_split_over_lines_and_commas() {
        let fields = fields(&[("Connection", " close , ,X-Hop"), ("connection", "Keep-Alive")]);
        let tokens: Vec<_> = fields.tokens("connection").collect();
        assert_eq!(tokens, [&b"close"[..], b"X-Hop", b"Keep-Alive"]);
        assert!(fields.has_token("connection", "keep-alive"));
        assert!(!fields.has_token("connection", "upgrade"));
    }
}
