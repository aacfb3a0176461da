//! The name of whoever asks, as it may stand in logs.

use std::sync::Arc;

/// Longest name kept, in bytes.
const MAX_BYTES: usize = 128;

/// A name that comes from outside, made harmless: what is not visible ASCII becomes `_`, and what
/// is too long is cut. An empty one is none. Two names may become the same one; for logs and limits
/// that does no harm.
pub fn principal(name: &[u8]) -> Option<Arc<str>> {
    let name: String = String::from_utf8_lossy(name)
        .chars()
        .map(|letter| if letter.is_ascii_graphic() { letter } else { '_' })
        .take(MAX_BYTES)
        .collect();
    (!name.is_empty()).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_visible() {
        for (name, expected) in [
            (&b"auth0|42"[..], Some("auth0|42")),
            (b"", None),
            (b"a b\r\n\x1b[31m", Some("a_b___[31m")),
            ("zoë".as_bytes(), Some("zo_")),
            (b"a\xff", Some("a_")),
        ] {
            assert_eq!(principal(name).as_deref(), expected);
        }
        assert_eq!(principal(&[b'x'; 500]).unwrap().len(), 128);
    }
}
