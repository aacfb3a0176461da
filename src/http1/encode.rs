//! Writes heads and chunks. What goes out is what was parsed, never what came and was not.

use super::fields::Fields;

/// The end of a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a request head, empty line included. The version is always HTTP/1.1.
pub fn request_head(out: &mut Vec<u8>, method: &[u8], target: &[u8], fields: &Fields) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field_lines(out, fields);
}

/// Appends a response head, empty line included. The version is always HTTP/1.1: RFC 9110 §6.2
/// has a server send its own highest minor version.
pub fn response_head(out: &mut Vec<u8>, status: u16, reason: &[u8], fields: &Fields) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    field_lines(out, fields);
}

/// Appends one chunk; nothing for empty data, which would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    digits::<16>(out, data.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

fn field_lines(out: &mut Vec<u8>, fields: &Fields) {
    for piece in fields.pieces() {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    digits::<10>(out, number);
}

/// Not by `write!`, which costs ten times as much, and every head has a number or two.
fn digits<const BASE: u64>(out: &mut Vec<u8>, mut number: u64) {
    // As many as the greatest number has in decimal.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % BASE) as usize];
        number /= BASE;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The standard reason phrase of a status that this proxy makes itself; empty for others.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{BodyDecoder, Piece};
    use super::super::framing::Framing;
    use super::super::head::{parse_request, parse_response};
    use super::*;

    #[test]
    fn chunks_read_back_at_every_size() {
        for size in [1, 15, 16, 255, 256, 4096, 65_535, 65_536] {
            let data = vec![b'x'; size];
            let mut wire = Vec::new();
            chunk(&mut wire, &data);
            chunk(&mut wire, b"");
            wire.extend_from_slice(LAST_CHUNK);
            let mut decoder = BodyDecoder::new(Framing::Chunked);
            let mut input = &wire[..];
            assert_eq!(decoder.next(&mut input), Ok(Piece::Data(&data)), "{size}");
            assert_eq!(decoder.next(&mut input), Ok(Piece::End), "{size}");
        }
    }

    #[test]
    fn heads_read_back() {
        let mut fields = Fields::default();
        fields.append("Host", "a");
        let mut wire = Vec::new();
        request_head(&mut wire, b"GET", b"/x", &fields);
        let (head, length) = parse_request(&wire).unwrap().unwrap();
        assert_eq!((length, &*head.target), (wire.len(), "/x"));
        wire.clear();
        response_head(&mut wire, 404, b"Not Found", &fields);
        assert_eq!(wire, b"HTTP/1.1 404 Not Found\r\nHost: a\r\n\r\n");
        assert_eq!(parse_response(&wire).unwrap().unwrap().0.status, 404);
    }
}
