//! How long a body is (RFC 9112 §6). Decided once, from parsed values; strict for requests.

use super::fields::Fields;
use super::head::{RequestHead, ResponseHead, Version};

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After that many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// When the connection is closed; responses only.
    UntilClose,
}

/// Why framing fields were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// RFC 9112 §6.1: a request with both "ought to be handled as an error".
    #[error("both Content-Length and Transfer-Encoding")]
    Both,
    /// Something other than one plain decimal number.
    #[error("Content-Length is not one number")]
    Length,
    /// Anything but `chunked`, once.
    #[error("Transfer-Encoding is not exactly \"chunked\"")]
    Encoding,
    /// RFC 9112 §6.1: HTTP/1.0 has no transfer encodings.
    #[error("Transfer-Encoding in HTTP/1.0")]
    EncodingIn10,
}

/// The framing of a request's body.
pub fn of_request(head: &RequestHead) -> Result<Framing, FramingError> {
    let length = length(&head.fields)?;
    if !chunked(&head.fields, head.version)? {
        return Ok(length.map_or(Framing::None, Framing::Length));
    }
    if length.is_some() { Err(FramingError::Both) } else { Ok(Framing::Chunked) }
}

/// The framing of a response's body; `to_head` says that the request's method was HEAD.
///
/// A response with both fields is read as chunked, as RFC 9112 §6.3 says; the length must then not
/// be passed on.
pub fn of_response(head: &ResponseHead, to_head: bool) -> Result<Framing, FramingError> {
    // RFC 9112 §6.3 rule 1: "Any response to a HEAD request and any response with a 1xx, 204, or
    // 304 status code is always terminated by the first empty line".
    if to_head || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(Framing::None);
    }
    if chunked(&head.fields, head.version)? {
        return Ok(Framing::Chunked);
    }
    Ok(length(&head.fields)?.map_or(Framing::UntilClose, Framing::Length))
}

fn chunked(fields: &Fields, version: Version) -> Result<bool, FramingError> {
    let mut values = fields.all("transfer-encoding");
    let Some(value) = values.next() else { return Ok(false) };
    if version == Version::Http10 {
        return Err(FramingError::EncodingIn10);
    }
    if values.next().is_some() || !value.eq_ignore_ascii_case(b"chunked") {
        return Err(FramingError::Encoding);
    }
    Ok(true)
}

/// The value of `Content-Length`, which must be one number.
pub fn length(fields: &Fields) -> Result<Option<u64>, FramingError> {
    let mut values = fields.all("content-length");
    let Some(value) = values.next() else { return Ok(None) };
    // Two fields are refused even when they agree: what comes behind us may read the other one.
    // Digits only: `u64::from_str` would take "+5".
    if values.next().is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::Length);
    }
    let text = std::str::from_utf8(value).map_err(|_| FramingError::Length)?;
    text.parse().map(Some).map_err(|_| FramingError::Length)
}

#[cfg(test)]
mod tests {
    use super::super::head::{parse_request, parse_response};
    use super::*;

    fn request(lines: &str) -> Result<Framing, FramingError> {
        let text = format!("POST / HTTP/1.1\r\n{lines}\r\n");
        of_request(&parse_request(text.as_bytes()).unwrap().unwrap().0)
    }

    fn response(start: &str, to_head: bool) -> Result<Framing, FramingError> {
        let text = format!("{start}\r\n");
        of_response(&parse_response(text.as_bytes()).unwrap().unwrap().0, to_head)
    }

    #[test]
    fn requests() {
        use FramingError as E;
        for (lines, expected) in [
            ("", Ok(Framing::None)),
            ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(E::Both)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(E::Length)),
            ("Content-Length: 5, 5\r\n", Err(E::Length)),
            ("Content-Length: +5\r\n", Err(E::Length)),
            ("Content-Length: 18446744073709551616\r\n", Err(E::Length)),
            ("Content-Length:\r\n", Err(E::Length)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(E::Encoding)),
            ("Transfer-Encoding: ,chunked\r\n", Err(E::Encoding)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(E::Encoding)),
        ] {
            assert_eq!(request(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn responses() {
        use FramingError as E;
        for (start, to_head, expected) in [
            ("HTTP/1.1 200 OK\r\n", false, Ok(Framing::UntilClose)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", false, Ok(Framing::Length(7))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", true, Ok(Framing::None)),
            ("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n", false, Ok(Framing::None)),
            ("HTTP/1.1 304 No\r\nContent-Length: 7\r\n", false, Ok(Framing::None)),
            ("HTTP/1.1 103 Hi\r\n", false, Ok(Framing::None)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n",
                false,
                Ok(Framing::Chunked),
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", false, Err(E::EncodingIn10)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n",
                false,
                Err(E::Length),
            ),
        ] {
            assert_eq!(response(start, to_head), expected, "{start:?}");
        }
    }
}
