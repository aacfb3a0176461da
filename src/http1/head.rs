//! Request and response heads, parsed by `httparse` and checked where that is lenient.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::Status;

use super::encode;
use super::fields::Fields;

/// Field lines in one head. Browsers send about 20, proxies in front add a few.
pub const MAX_FIELDS: usize = 128;

/// Fields that a proxy adds to a head.
const ADDED: usize = 8;

/// The version that a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no 1xx, closes unless asked otherwise.
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2, translated to the rules of HTTP/1.1 where it came in.
    Http2,
}

impl Version {
    /// Its number, as `Via` and logs have it.
    pub fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }
}

/// What a client sent up to the empty line.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method, case-sensitive.
    pub method: Cow<'static, str>,
    /// The request target as it was sent, until somebody has taken it: `/path?query`, `http://…`,
    /// `*` or `host:port`.
    pub target: String,
    /// The client's version.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
}

/// What an upstream sent up to the empty line.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The upstream's version.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase, often empty.
    pub reason: Bytes,
    /// The fields.
    pub fields: Fields,
}

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1 syntax; says where it went wrong.
    #[error("malformed head: {0}")]
    Syntax(httparse::Error),
    /// A version of HTTP that is not spoken here.
    #[error("only HTTP/1.0 and HTTP/1.1")]
    Version,
    /// RFC 9112 §2.2: a bare LF may be taken for a line end, and that is what request smuggling is
    /// made of.
    #[error("malformed head: a line ends without CR")]
    BareLf,
    /// A status below 100 or above 599.
    #[error("malformed head: status {0}")]
    Status(u16),
}

/// Parses a request head from the front of `buffer`.
///
/// Gives `None` when it is not complete yet (nothing was consumed), else the head and its length in
/// bytes, empty line included.
pub fn parse_request(buffer: &[u8]) -> Result<Option<(RequestHead, usize)>, HeadError> {
    // To clear room for so many costs more than to read what comes.
    let mut lines = [MaybeUninit::uninit(); MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(buffer, &mut lines) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        // What is wrong with a version shows at the end of its line.
        Err(httparse::Error::Version) => return first_line(buffer).map_or(Ok(None), bad_version),
        Err(error) => return Err(HeadError::Syntax(error)),
    };
    let raw = &buffer[..length];
    if memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r') {
        return Err(HeadError::BareLf);
    }
    let head = RequestHead {
        method: method(parsed.method.unwrap_or_default()),
        target: parsed.path.unwrap_or_default().to_owned(),
        version: version(parsed.version),
        fields: fields(raw, parsed.headers),
    };
    Ok(Some((head, length)))
}

/// The first line that is not empty, if its end has come.
fn first_line(buffer: &[u8]) -> Option<&[u8]> {
    let start = buffer.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = &buffer[start..];
    Some(&line[..memchr::memchr(b'\n', line)?])
}

/// Why a request line without a version of ours is refused.
fn bad_version<T>(line: &[u8]) -> Result<T, HeadError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<_> = line.split(|&byte| byte == b' ').collect();
    // RFC 9112 §2.3: HTTP-version = "HTTP" "/" DIGIT "." DIGIT
    let is_version = match words[..] {
        [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    };
    Err(if is_version { HeadError::Version } else { HeadError::Syntax(httparse::Error::Version) })
}

/// Parses a response head from the front of `buffer`; as [`parse_request`].
///
/// Bare LF passes here: it is common in home-made servers, and what goes to the client is written
/// anew anyway.
pub fn parse_response(buffer: &[u8]) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    let mut lines = [MaybeUninit::uninit(); MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let result = config.parse_response_with_uninit_headers(&mut parsed, buffer, &mut lines);
    let length = match result.map_err(HeadError::Syntax)? {
        Status::Partial => return Ok(None),
        Status::Complete(length) => length,
    };
    let status = parsed.code.unwrap_or_default();
    if !(100..=599).contains(&status) {
        return Err(HeadError::Status(status));
    }
    let head = ResponseHead {
        version: version(parsed.version),
        status,
        reason: reason(status, parsed.reason.unwrap_or_default()),
        fields: fields(&buffer[..length], parsed.headers),
    };
    Ok(Some((head, length)))
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// Nearly all are one of these, which need no memory.
fn method(text: &str) -> Cow<'static, str> {
    let known = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    match known.into_iter().find(|known| *known == text) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(text.to_owned()),
    }
}

/// So it is with the phrase that a status has.
fn reason(status: u16, text: &str) -> Bytes {
    match encode::reason(status) {
        known if known == text => Bytes::from_static(known.as_bytes()),
        _ => Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn fields(raw: &[u8], lines: &[httparse::Header<'_>]) -> Fields {
    let parts = lines.iter().map(|line| (line.name.as_bytes(), line.value.trim_ascii()));
    // Room for the few that a proxy adds, so that the list is allocated once.
    Fields::parsed(raw, parts, ADDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] =
        b"POST /v1/chat?x=1 HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Two:  b c \r\n\r\nrest";

    #[test]
    fn a_request_is_taken_apart() {
        let (head, length) = parse_request(REQUEST).unwrap().unwrap();
        assert_eq!(length, REQUEST.len() - 4);
        assert_eq!((&*head.method, &*head.target), ("POST", "/v1/chat?x=1"));
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.fields.get("x-empty").unwrap(), b"");
        assert_eq!(head.fields.get("x-two").unwrap(), b"b c");
    }

    #[test]
    fn every_prefix_needs_more() {
        for cut in 0..REQUEST.len() - 4 {
            assert!(parse_request(&REQUEST[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let response = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for cut in 0..response.len() {
            assert!(parse_response(&response[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        assert_eq!(parse_response(response).unwrap().unwrap().1, response.len());
    }

    #[test]
    fn another_version_is_told_from_none() {
        for (line, expected) in [
            ("GET / HTTP/2.0", HeadError::Version),
            ("GET / HTTP/1.2", HeadError::Version),
            ("GET / http/1.1", HeadError::Syntax(httparse::Error::Version)),
            ("GET / HTTP/1,1", HeadError::Syntax(httparse::Error::Version)),
            ("GET /  HTTP/1.1", HeadError::Syntax(httparse::Error::Version)),
            ("GET / x HTTP/1.1", HeadError::Syntax(httparse::Error::Version)),
        ] {
            let text = format!("\r\n{line}\r\n");
            assert_eq!(parse_request(text.as_bytes()).unwrap_err(), expected, "{line}");
            for cut in 0..text.len() - 1 {
                let parsed = parse_request(&text.as_bytes()[..cut]);
                assert!(parsed.unwrap().is_none(), "{line} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_could_smuggle_is_refused() {
        for bad in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
        ] {
            assert!(parse_request(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse_response(b"HTTP/1.1 999 No\r\n\r\n").unwrap_err(), HeadError::Status(999));
        assert!(parse_response(b"SSH-2.0-OpenSSH_9.6\r\n").is_err());
    }
}
