//! Response heads, from HTTP/2 to HTTP/1.1 (RFC 9113 §8.3.2). Pure.

use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{Response, StatusCode};

use crate::http1::encode;
use crate::http1::framing::Framing;

/// Appends an interim head. Gives `None` for 101: "HTTP/2 removes support for the 101 (Switching
/// Protocols) informational status code" (RFC 9113 §8.6).
pub(super) fn interim(out: &mut Vec<u8>, response: &Response<()>) -> Option<()> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    start(out, response.status());
    field_lines(out, response.headers());
    out.extend_from_slice(b"\r\n");
    Some(())
}

/// Appends a final head; gives how the body is to be framed, never [`Framing::UntilClose`].
///
/// `to_head` says that the request's method was HEAD, `ended` that the head was the end of the
/// stream. A length that the upstream gave stays; h2 compares it with the data.
pub(super) fn last<B>(
    out: &mut Vec<u8>,
    response: &Response<B>,
    to_head: bool,
    ended: bool,
) -> Framing {
    let status = response.status();
    let framing = framing(status, response.headers(), to_head, ended);
    start(out, status);
    field_lines(out, response.headers());
    let declared = match framing {
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
        // It says what a body would have been (RFC 9110 §8.6).
        Framing::None | Framing::UntilClose => length(response.headers()),
    };
    if let Some(length) = declared {
        out.extend_from_slice(b"content-length: ");
        encode::decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn framing(status: StatusCode, fields: &HeaderMap, to_head: bool, ended: bool) -> Framing {
    // RFC 9110 §6.4.1: responses to HEAD, 204 and 304 have no content.
    if to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Framing::None;
    }
    match length(fields) {
        Some(length) => Framing::Length(length),
        None if ended => Framing::Length(0),
        None => Framing::Chunked,
    }
}

/// h2 has refused what is not a number, and several that differ.
fn length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn start(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    // HTTP/2 has no reason phrase (RFC 9113 §8.3.2); some clients show one.
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// All fields but the length, which is written once. h2 has refused heads with fields about a
/// connection, and values with line ends.
fn field_lines(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields.iter().filter(|(name, _)| **name != CONTENT_LENGTH) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut builder = Response::builder().status(status);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn text(response: &Response<()>, to_head: bool, ended: bool) -> (String, Framing) {
        let mut out = Vec::new();
        let framing = last(&mut out, response, to_head, ended);
        (String::from_utf8(out).unwrap(), framing)
    }

    #[test]
    fn the_framing_follows_from_length_status_and_method() {
        let length = &[("content-length", "7")][..];
        for (status, fields, to_head, ended, framing) in [
            (200, length, false, false, Framing::Length(7)),
            (200, &[], false, false, Framing::Chunked),
            (200, &[], false, true, Framing::Length(0)),
            (200, length, true, true, Framing::None),
            (204, &[], false, true, Framing::None),
            (304, length, false, true, Framing::None),
        ] {
            let found = text(&response(status, fields), to_head, ended).1;
            assert_eq!(found, framing, "{status} {fields:?} {to_head} {ended}");
        }
    }

    #[test]
    fn heads_are_written_as_http_1_1() {
        let event_stream = response(200, &[("content-type", "text/event-stream"), ("x", "1")]);
        assert_eq!(
            text(&event_stream, false, false).0,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx: 1\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let twice = response(200, &[("content-length", "07"), ("content-length", "7")]);
        let expected = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(text(&twice, false, false).0, expected, "one length");
        assert_eq!(text(&twice, true, true).0, expected, "to HEAD, too");
        let odd = response(299, &[]);
        assert_eq!(text(&odd, false, true).0, "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn interim_heads_pass_and_101_does_not() {
        let mut out = Vec::new();
        interim(&mut out, &response(103, &[("link", "</a>")])).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        );
        assert_eq!(interim(&mut Vec::new(), &response(101, &[])), None);
    }
}
