//! Names of methods and fields (RFC 9110 §5.1, §5.6.2). Pure.

/// RFC 9110 §7.6.1: fields that mean one connection only, whatever `Connection` lists; lower case.
/// Content-Length is here because framing is written anew, from the value that was parsed.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A bit that a name has in any case, and others rarely: where it is missing, the name is not.
#[inline]
pub const fn mark(name: &[u8]) -> u64 {
    // By the length and the last letter; case is one bit of it.
    let last = if let [.., last] = name { *last | 0x20 } else { 0 };
    1 << ((last as usize + 5 * name.len()) % 64)
}

/// The same for several names.
pub const fn marks(names: &[&str]) -> u64 {
    let (mut marks, mut at) = (0, 0);
    while at < names.len() {
        marks |= mark(names[at].as_bytes());
        at += 1;
    }
    marks
}

/// Whether the byte may stand in a token.
pub fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 §5.6.2: `token = 1*tchar`.
pub fn is_token(text: impl AsRef<[u8]>) -> bool {
    let text = text.as_ref();
    !text.is_empty() && text.iter().copied().all(is_tchar)
}

/// Whether one name is the other with `_` for `-` somewhere, or the other way round. Behind CGI and
/// its heirs (WSGI, Rack, PHP) these are one field.
pub fn is_twin(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len()
        && !one.eq_ignore_ascii_case(other)
        && one.iter().map(folded).eq(other.iter().map(folded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_know_no_case() {
        for name in HOP_BY_HOP.into_iter().chain(["x", "x-_", "x-1"]) {
            let marks = [name, &name.to_ascii_uppercase()].map(|name| mark(name.as_bytes()));
            assert_eq!(marks[0], marks[1], "{name}");
            assert_eq!(marks[0].count_ones(), 1, "{name}");
        }
        assert_ne!(mark(b"te"), mark(b"host"));
        assert_ne!(marks(&["te", "host"]) & mark(b"Host"), 0);
        assert_eq!(marks(&[]), 0);
    }

    #[test]
    fn twins() {
        for (one, other, expected) in [
            ("X_Api_Key", "x-api-key", true),
            ("X-Api_Key", "x-api-key", true),
            ("x-api-key", "X_API_KEY", true),
            ("x-api-key", "X-Api-Key", false),
            ("x_key", "X_Key", false),
            ("x_api_keys", "x-api-key", false),
            ("xxapi-key", "x-api-key", false),
        ] {
            assert_eq!(is_twin(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
        }
    }

    #[test]
    fn tokens() {
        for good in ["GET", "M-SEARCH", "x_y.z~1", "!#$%&'*+-.^_`|~"] {
            assert!(is_token(good), "{good:?} is a token");
        }
        for bad in ["", " ", "a b", "a:", "(a)", "a,b", "\u{e9}", "a\0", "a\n"] {
            assert!(!is_token(bad), "{bad:?} is no token");
        }
    }
}
