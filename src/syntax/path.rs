//! What the path of a request may look like, and how routes compare it. Pure.
//!
//! A route decides who may go where. If the upstream reads a path in another way than we do, then
//! whoever may not go to `/admin` goes to `/v1/../admin`. A client that follows RFC 3986 §5.2.4 has
//! removed dot segments before it asks, so one that sends them is broken or up to something, and
//! refusing them takes nothing from anybody. Rewriting them would be worse: RFC 9110 §7.7 has a
//! proxy leave the path as it is, and signatures are made over it.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A segment `.` or `..`, however it is written.
    #[error("the path has a dot segment")]
    DotSegment,
    /// RFC 3986 has none; some take it for a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// `%` without two digits.
    #[error("the path is not percent-encoded properly")]
    Encoding,
    /// An encoded NUL, CR or LF: the first ends a path in C, the others a line of a response that
    /// repeats it.
    #[error("the path has an encoded control character")]
    Control,
    /// UTF-8 in more bytes than it takes.
    #[error("the path has a character that is encoded as a longer one")]
    Overlong,
}

/// Checks a path (without its query), and gives the one form in which routes compare it.
///
/// - Decoded is what may stand in a segment: letters, digits and `-._~` "are equivalent" anyway
///   (RFC 3986 §6.2.2.2), and of `!$&'()*+,=:@` upstreams make no difference between `m:gen` and
///   `m%3Agen`.
/// - Encoded, with digits in upper case, is everything else but `/` and `;`.
/// - Slashes and semicolons stay as they are: `//` and `%2F` are part of a name for some and
///   separators for others, and clients use both (a base URL that ends with a slash; a model's name
///   that has one in it). `;` begins parameters for some, and `%3B` does not.
pub fn check(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.contains('\\') {
        return Err(PathError::Backslash);
    }
    let plain = plain(path)?;
    if plain.contains('.') && has_dot_segment(&plain) {
        return Err(PathError::DotSegment);
    }
    Ok(plain)
}

/// The same for the beginning of paths: its last segment may go on.
pub fn check_prefix(prefix: &str) -> Result<String, PathError> {
    let mut longer = check(&format!("{prefix}{CONTINUED}"))?.into_owned();
    longer.truncate(longer.len() - CONTINUED.len());
    Ok(longer)
}

/// What a segment may go on with: no hex digit, and the same in every form.
const CONTINUED: &str = "x";

fn plain(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.bytes().all(|byte| is_plain(byte) || is_separator(byte)) {
        return Ok(Cow::Borrowed(path));
    }
    let mut pieces = path.split('%');
    let mut plain = String::with_capacity(path.len());
    push_raw(&mut plain, pieces.next().unwrap_or_default());
    // The encoded byte that stands right before.
    let mut before = None;
    for piece in pieces {
        let code = piece.get(..2).ok_or(PathError::Encoding)?;
        // `from_str_radix` would take "+5".
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathError::Encoding);
        }
        let byte = u8::from_str_radix(code, 16).map_err(|_| PathError::Encoding)?;
        if matches!(byte, 0 | b'\r' | b'\n') {
            return Err(PathError::Control);
        }
        if is_overlong(before, byte) {
            return Err(PathError::Overlong);
        }
        if is_plain(byte) {
            plain.push(char::from(byte))
        } else {
            push_code(&mut plain, byte)
        }
        push_raw(&mut plain, &piece[2..]);
        before = Some(byte).filter(|_| piece.len() == 2);
    }
    Ok(Cow::Owned(plain))
}

/// RFC 3986 §3.3: `pchar`, but for the semicolon.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b';')
}

/// What was not encoded; some should have been.
fn push_raw(plain: &mut String, raw: &str) {
    for byte in raw.bytes() {
        if is_plain(byte) || is_separator(byte) {
            plain.push(char::from(byte));
        } else {
            push_code(plain, byte);
        }
    }
}

fn push_code(plain: &mut String, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    plain.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

/// RFC 3629 §10: a decoder of UTF-8 that does not care takes `%C0%AF` for a slash, as it takes
/// `%E0%80%AF`, and `%C0%AE` for a dot. The bytes `C0` and `C1` begin nothing else.
fn is_overlong(before: Option<u8>, byte: u8) -> bool {
    match (before, byte) {
        (_, 0xC0 | 0xC1) => true,
        (Some(0xE0), 0x80..=0x9F) | (Some(0xF0), 0x80..=0x8F) => true,
        // Of five and six bytes: older than RFC 3629.
        (Some(0xF8), 0x80..=0x87) | (Some(0xFC), 0x80..=0x83) => true,
        _ => false,
    }
}

/// Whether a segment is `.` or `..` for anybody: for those who decode slashes first, and for those
/// (Tomcat and its kin) who cut off parameters behind a semicolon. Digits are in upper case here.
fn has_dot_segment(plain: &str) -> bool {
    let decoded = plain.replace("%2F", "/").replace("%5C", "/").replace("%3B", ";");
    decoded.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        matches!(name, "." | "..")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_routes_compare() {
        for (path, expected) in [
            ("/", "/"),
            ("/v1/chat", "/v1/chat"),
            ("/%61dmin", "/admin"),
            ("/a%2Db%2e%5f%7E", "/a-b._~"),
            ("/a%2Fb%2fc", "/a%2Fb%2Fc"),
            ("/m%3agen/a%40b%21%24%26%27%28%29%2a%2B%2c%3d", "/m:gen/a@b!$&'()*+,="),
            ("/m:gen/a@b!$&'()*+,=", "/m:gen/a@b!$&'()*+,="),
            ("/a;b%3bc%3Bd", "/a;b%3Bc%3Bd"),
            ("/{a}%7b%7D\"", "/%7Ba%7D%7B%7D%22"),
            ("/a%20b%C3%A4", "/a%20b%C3%A4"),
            ("/%2561", "/%2561"),
            ("//a///", "//a///"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a.b/..c/d../.../", "/a.b/..c/d../.../"),
            ("/v1/models/org%2Fname.v2", "/v1/models/org%2Fname.v2"),
            ("/a;b=../c", "/a;b=../c"),
            ("/\u{e4}/%41", "/%C3%A4/A"),
            ("/%c3%a4%e4%F0%90%80%80%e0%a0%80x%80", "/%C3%A4%E4%F0%90%80%80%E0%A0%80x%80"),
            ("", ""),
        ] {
            assert_eq!(check(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(matches!(check("/v1/a.b"), Ok(Cow::Borrowed(_))), "nothing to do, nothing copied");
    }

    #[test]
    fn what_is_refused() {
        use PathError as E;
        for (path, error) in [
            ("/..", E::DotSegment),
            ("/.", E::DotSegment),
            ("/v1/../admin", E::DotSegment),
            ("/v1/./admin", E::DotSegment),
            ("/v1/%2e%2E/admin", E::DotSegment),
            ("/v1/.%2e", E::DotSegment),
            ("/v1/..%2fadmin", E::DotSegment),
            ("/v1%2F..%5Cadmin", E::DotSegment),
            ("/v1/..;/admin", E::DotSegment),
            ("/v1/..%3bx/admin", E::DotSegment),
            ("/v1/.;a=b/admin", E::DotSegment),
            ("/v1/..%3Ba%3bb/admin", E::DotSegment),
            ("/v1/..%3ba%3Bb/admin", E::DotSegment),
            ("/v1/..%3Ba;b/admin", E::DotSegment),
            ("/v1/..;a%3bb/admin", E::DotSegment),
            ("/v1%2f..%3Ba%3bb%2Fadmin", E::DotSegment),
            ("/v1\\..\\admin", E::Backslash),
            ("/a%", E::Encoding),
            ("/a%4", E::Encoding),
            ("/a%zz", E::Encoding),
            ("/a%+5", E::Encoding),
            ("/a%\u{e4}", E::Encoding),
            ("/a%00", E::Control),
            ("/a%0d%0Ab", E::Control),
            ("/v1/%c0%ae%C0%AE/admin", E::Overlong),
            ("/v1/..%C1%9cadmin", E::Overlong),
            ("/v1/..%c0%2fadmin", E::Overlong),
            ("/v1/..%E0%80%AFadmin", E::Overlong),
            ("/v1/..%f0%80%80%afadmin", E::Overlong),
            ("/v1/..%F8%80%80%80%AFadmin", E::Overlong),
            ("/v1/..%fc%80%80%80%80%afadmin", E::Overlong),
        ] {
            assert_eq!(check(path), Err(error), "{path}");
        }
    }
    #[test]
    fn the_beginnings_of_paths() {
        for (prefix, expected) in [
            ("/", Ok("/")),
            ("/%7Euser/", Ok("/~user/")),
            ("/org%2f", Ok("/org%2F")),
            ("/.", Ok("/.")),
            ("/..", Ok("/..")),
            ("/a/../b/", Err(PathError::DotSegment)),
            ("/a/./", Err(PathError::DotSegment)),
            ("/a\\b", Err(PathError::Backslash)),
            ("/a%", Err(PathError::Encoding)),
            ("/a%c", Err(PathError::Encoding)),
            ("/a%C0", Err(PathError::Overlong)),
        ] {
            assert_eq!(check_prefix(prefix).as_deref(), expected.as_ref().copied(), "{prefix}");
        }
    }
}
