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

#[cfg(test)]
mod tests {
    use super::*;

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
