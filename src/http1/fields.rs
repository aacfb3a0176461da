//! Header fields in the order and the case in which they came.

use crate::syntax::name::mark;

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
    /// The marks of all names that there are, and of some that were removed: most questions are
    /// about fields that are not there.
    marks: u64,
}

/// Where a field is in the text, of which there can be no gigabytes. There it stands as it goes
/// out: `name: value`, CR and LF behind it.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    name_end: u32,
    value_end: u32,
}

/// What stands between a name and its value, and behind that.
const SEPARATOR: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

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
        Self { text, lines: Vec::with_capacity(count + more), marks: 0 }
    }

    /// Those of a head, each a name and a value that are parts of its text, `raw`; with room for
    /// `more`.
    pub(super) fn parsed<'r>(
        raw: &'r [u8],
        parts: impl ExactSizeIterator<Item = (&'r [u8], &'r [u8])>,
        more: usize,
    ) -> Self {
        let mut fields = Self::of_text(raw, parts.len(), more);
        for (name, value) in parts {
            let start = name.as_ptr() as usize - raw.as_ptr() as usize;
            let line = Line::new(start, name.len(), value.len());
            // What came in another form than it goes out in is written anew.
            match line.is_in_form(raw, name, value) {
                true => fields.add(name, line),
                false => fields.append(name, value),
            }
        }
        fields
    }

    /// A copy with room for `more`.
    pub fn with_room(&self, more: usize) -> Self {
        let mut copy = Self::of_text(&self.text, self.count(), more);
        copy.lines.extend_from_slice(&self.lines);
        copy.marks = self.marks;
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

    /// All fields as they go out, in as few pieces as there are: neighbours that came together go
    /// together.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let together = |one: &Line, next: &Line| one.end() == next.start as usize;
        self.lines.chunk_by(together).map(|lines| {
            let (first, last) = (lines[0], lines[lines.len() - 1]);
            &self.text[first.start as usize..last.end()]
        })
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.named(name).iter();
        let line = lines.find(|line| line.is(name, &self.text))?;
        Some(line.field(&self.text).value)
    }

    /// The values of all fields of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.named(name).iter().filter(|line| line.is(name, &self.text));
        lines.map(|line| line.field(&self.text).value)
    }

    /// The lines to look for that name in: none, if it cannot be there.
    fn named(&self, name: &str) -> &[Line] {
        if self.may_have(name) { &self.lines } else { &[] }
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
        self.text.extend_from_slice(SEPARATOR);
        let middle = self.text.len();
        write_value(&mut self.text);
        let line = Line::new(start, name.len(), self.text.len() - middle);
        self.text.extend_from_slice(LINE_END);
        self.add(name, line);
    }

    fn add(&mut self, name: &[u8], line: Line) {
        self.marks |= mark(name);
        self.lines.push(line);
    }

    fn may_have(&self, name: &str) -> bool {
        self.marks & mark(name.as_bytes()) != 0
    }

    /// Removes all fields of that name.
    pub fn remove(&mut self, name: &str) {
        if self.may_have(name) {
            self.lines.retain(|line| !line.is(name, &self.text));
        }
    }

    /// Keeps the fields for which `keep` says yes.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        self.lines.retain(|line| keep(line.field(&self.text)));
    }
}

impl Line {
    fn new(start: usize, name: usize, value: usize) -> Self {
        let name_end = start + name;
        let value_end = name_end + SEPARATOR.len() + value;
        Self { start: start as u32, name_end: name_end as u32, value_end: value_end as u32 }
    }

    /// Where its line ends.
    fn end(&self) -> usize {
        self.value_end as usize + LINE_END.len()
    }

    fn field(self, text: &[u8]) -> Field<'_> {
        let line = &text[self.start as usize..self.value_end as usize];
        let (name, rest) = line.split_at((self.name_end - self.start) as usize);
        Field { name, value: &rest[SEPARATOR.len()..] }
    }

    /// Whether the text has that name and that value there, in the form in which it goes out.
    fn is_in_form(self, text: &[u8], name: &[u8], value: &[u8]) -> bool {
        let Some(line) = text.get(self.start as usize..self.end()) else { return false };
        let rest = &line[name.len()..];
        rest.starts_with(SEPARATOR)
            && rest.ends_with(LINE_END)
            && std::ptr::eq(rest[SEPARATOR.len()..].as_ptr(), value.as_ptr())
    }

    /// Whether that is its name. Most have another length, and are not looked at.
    fn is(self, name: &str, text: &[u8]) -> bool {
        (self.name_end - self.start) as usize == name.len()
            && self.field(text).name.eq_ignore_ascii_case(name.as_bytes())
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
    fn what_goes_out_is_in_one_form() {
        let raw =
            b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\nX:\r\nY: \r\nE:f\r\nG:  h \r\ni: j\nk: l\r\n\r\n";
        let mut lines = [httparse::EMPTY_HEADER; 9];
        let mut parsed = httparse::Request::new(&mut lines);
        parsed.parse(raw).unwrap();
        let parts = parsed.headers.iter().map(|line| (line.name.as_bytes(), line.value));
        let mut fields = Fields::parsed(raw, parts.map(|(n, v)| (n, v.trim_ascii())), 1);
        fields.append("M", "n");
        let names: Vec<_> = fields.iter().flat_map(|field| field.name.to_owned()).collect();
        assert_eq!(names, b"ACXYEGikM");
        let out: Vec<_> = fields.pieces().collect();
        assert_eq!(out[0], b"A: b\r\nC: d\r\n");
        let whole = b"A: b\r\nC: d\r\nX: \r\nY: \r\nE: f\r\nG: h\r\ni: j\r\nk: l\r\nM: n\r\n";
        assert_eq!(out.concat(), whole);
        fields.remove("c");
        fields.set("a", "2");
        let whole = b"X: \r\nY: \r\nE: f\r\nG: h\r\ni: j\r\nk: l\r\nM: n\r\na: 2\r\n";
        assert_eq!(fields.with_room(3).pieces().collect::<Vec<_>>().concat(), whole);
        assert_eq!(fields.get("X"), Some(&b""[..]));
        assert_eq!((fields.get("c"), fields.get("d")), (None, None));
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
