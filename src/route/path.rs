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
}

/// Checks a path (without its query), and gives it as routes compare it: with letters, digits, `-`,
/// `.`, `_` and `~` written out, since `/%61dmin` "is equivalent" to `/admin` (RFC 3986 §6.2.2.2)
/// and any upstream takes it for that.
///
/// Slashes stay as they are: `//` and `%2F` are part of a name for some and separators for others,
/// and clients use both (a base URL that ends with a slash; a model's name that has one in it).
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

fn plain(path: &str) -> Result<Cow<'_, str>, PathError> {
    let mut pieces = path.split('%');
    let mut plain = Cow::Borrowed(pieces.next().unwrap_or_default());
    for piece in pieces {
        let code = piece.get(..2).ok_or(PathError::Encoding)?;
        // `from_str_radix` would take "+5".
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathError::Encoding);
        }
        let plain = plain.to_mut();
        match u8::from_str_radix(code, 16).map_err(|_| PathError::Encoding)? {
            0 | b'\r' | b'\n' => return Err(PathError::Control),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(char::from(byte));
            }
            _ => {
                plain.push('%');
                plain.push_str(code);
            }
        }
        plain.push_str(&piece[2..]);
    }
    Ok(plain)
}

/// Whether a segment is `.` or `..` for anybody: for those who decode slashes first, and for those
/// (Tomcat and its kin) who cut off parameters behind a semicolon.
fn has_dot_segment(plain: &str) -> bool {
    let slashes = plain.replace("%2f", "/").replace("%2F", "/");
    let slashes = slashes.replace("%5c", "/").replace("%5C", "/");
    slashes.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        let name = name.split_once("%3b").or_else(|| name.split_once("%3B")).map_or(name, |c| c.0);
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
            ("/a%2Fb%2fc", "/a%2Fb%2fc"),
            ("/a%20b%C3%A4", "/a%20b%C3%A4"),
            ("/%2561", "/%2561"),
            ("//a///", "//a///"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a.b/..c/d../.../", "/a.b/..c/d../.../"),
            ("/v1/models/org%2Fname.v2", "/v1/models/org%2Fname.v2"),
            ("/a;b=../c", "/a;b=../c"),
            ("/\u{e4}/%41", "/\u{e4}/A"),
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
            ("/v1\\..\\admin", E::Backslash),
            ("/a%", E::Encoding),
            ("/a%4", E::Encoding),
            ("/a%zz", E::Encoding),
            ("/a%+5", E::Encoding),
            ("/a%\u{e4}", E::Encoding),
            ("/a%00", E::Control),
            ("/a%0d%0Ab", E::Control),
        ] {
            assert_eq!(check(path), Err(error), "{path}");
        }
    }
}
