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
