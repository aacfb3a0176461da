//! Header fields in the order and the case in which they came.

use bytes::Bytes;

/// One field line, without its colon and line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name as it was written.
    pub name: Bytes,
    /// The value without surrounding white space.
    pub value: Bytes,
}

/// A list of fields. Names compare without case (RFC 9110 §5.1); order and case are kept.
///
/// A vector rather than a map: heads have a dozen fields, each is looked at once or twice, and all
/// values are slices of the one buffer that the head was read into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// An empty list with room for `capacity` fields.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Copies of these, with room for `capacity` fields.
    pub fn copied<'a>(fields: impl Iterator<Item = &'a Field>, capacity: usize) -> Self {
        let mut copied = Self::with_capacity(capacity);
        copied.0.extend(fields.cloned());
        copied
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        let named = |field: &&Field| field.name.eq_ignore_ascii_case(name.as_bytes());
        self.0.iter().find(named).map(|field| &field.value)
    }

    /// The values of all fields of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| &field.value)
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
    pub fn append(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.0.push(Field { name: name.into(), value: value.into() });
    }

    /// Replaces all fields of that name by one at the end.
    pub fn set(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.remove(name);
        self.append(Bytes::from_static(name.as_bytes()), value);
    }

    /// Removes all fields of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|field| !field.name.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Keeps the fields for which `keep` says yes.
    pub fn retain(&mut self, keep: impl FnMut(&Field) -> bool) {
        self.0.retain(keep);
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
        assert_eq!(fields.all("X-ONE").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fields.iter().next().unwrap().name, "X-One");
        fields.set("x-ONE", "4");
        let names: Vec<_> = fields.iter().map(|field| field.name.clone()).collect();
        assert_eq!(names, ["Two", "x-ONE"]);
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
