//! The opening handshake as far as a proxy looks at it (RFC 6455 §4).
//!
//! The key, its answer `Sec-WebSocket-Accept` and the subprotocol pass through unchanged: the
//! client checks what the upstream answered. Fields come as bytes; a field that is a list may come
//! as one value with commas, as several, or both.

use std::{error, fmt};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};

/// The version that is spoken, for the field `Sec-WebSocket-Version` of a 426.
pub const VERSION: &str = "13";

/// Whether a request asks for a WebSocket: GET, `Upgrade: websocket`, `Connection: upgrade`, in any
/// case and anywhere in their lists (§4.2.1).
///
/// `Upgrade` alone is not enough: without `Connection: upgrade` it was meant for the hop before us.
pub fn is_websocket<'a>(
    method: &str,
    upgrade: impl Iterator<Item = &'a [u8]>,
    connection: impl Iterator<Item = &'a [u8]>,
) -> bool {
    method == "GET" && lists(upgrade, b"websocket") && lists(connection, b"upgrade")
}

/// Checks the fields of a request that asks for a WebSocket: `version` is the value of
/// `Sec-WebSocket-Version`, `keys` are the values of all fields `Sec-WebSocket-Key`.
///
/// Of a version that came twice give both values joined by a comma, which is refused.
pub fn check(version: Option<&[u8]>, keys: &[&[u8]]) -> Result<(), HandshakeError> {
    if version.map(<[u8]>::trim_ascii) != Some(VERSION.as_bytes()) {
        return Err(HandshakeError::Version);
    }
    match keys {
        [key] if is_key(key.trim_ascii()) => Ok(()),
        _ => Err(HandshakeError::Key),
    }
}

/// The value of `Sec-WebSocket-Accept` for a key: the key "concatenated with the string
/// 258EAFA5-E914-47DA-95CA-C5AB0DC85B11", its SHA-1 in base64 (§4.2.2).
pub fn accept(key: &[u8]) -> String {
    let digest =
        Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(digest.finalize())
}

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// `Sec-WebSocket-Version` is not 13: "an appropriate HTTP error code (such as 426 Upgrade
    /// Required) and a |Sec-WebSocket-Version| header field indicating the version(s) the server
    /// is capable of understanding", which is [`VERSION`].
    Version,
    /// Not exactly one `Sec-WebSocket-Key`, or it is not 16 bytes in base64.
    Key,
}

impl HandshakeError {
    /// The status to answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Key => 400,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "Sec-WebSocket-Version: expected 13",
            Self::Key => "Sec-WebSocket-Key: expected one field with 16 bytes in base64",
        })
    }
}

impl error::Error for HandshakeError {}

/// Which RSV bits the agreed extensions may use, from the fields `Sec-WebSocket-Extensions` of the
/// 101: RSV1, and RSV2 with RSV3.
///
/// permessage-deflate uses RSV1 (RFC 7692 §6). Of an extension we do not know anything goes. A
/// comma in a quoted parameter would read as another extension; parameters are tokens (§9.1), so
/// there is none, and if there were we would only check less.
pub fn extensions<'a>(values: impl Iterator<Item = &'a [u8]>) -> (bool, bool) {
    let (mut rsv1, mut rsv23) = (false, false);
    for extension in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        let name = extension.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if name.is_empty() {
            continue;
        }
        rsv1 = true;
        rsv23 |= !name.eq_ignore_ascii_case(b"permessage-deflate");
    }
    (rsv1, rsv23)
}

/// Pages that may open a WebSocket: browsers send it from any page, with the user's cookies, and
/// no CORS stands in between (§10.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Those of the host that the request is for.
    Same,
    /// All.
    Any,
    /// Those of this origin, such as `https://chat.example`, or `null`.
    Exact(String),
}

/// Whether a request for `host` from a page of `origin` is allowed. Without an `Origin` it is: it
/// does not come from a browser, and then the field protects nobody.
///
/// For [`Origin::Same`] the scheme does not count, as TLS may have ended before us.
pub fn origin_allowed(origin: Option<&str>, host: &str, allowed: &[Origin]) -> bool {
    let Some(origin) = origin else { return true };
    allowed.iter().any(|allowed| match allowed {
        Origin::Any => true,
        Origin::Same => is_same_host(origin, host),
        Origin::Exact(exact) => is_same_origin(origin, exact),
    })
}

fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = split_origin(origin) else { return false };
    let Some(port) = default_port(scheme) else { return false };
    authority.eq_ignore_ascii_case(host.strip_suffix(port).unwrap_or(host))
}

fn is_same_origin(a: &str, b: &str) -> bool {
    match (split_origin(a), split_origin(b)) {
        (Some((scheme, authority)), Some((other_scheme, other_authority))) => {
            scheme.eq_ignore_ascii_case(other_scheme)
                && authority.eq_ignore_ascii_case(other_authority)
        }
        (None, None) => a.eq_ignore_ascii_case(b),
        _ => false,
    }
}

/// Scheme and host with port, the port only if it is not the scheme's default.
fn split_origin(origin: &str) -> Option<(&str, &str)> {
    let (scheme, authority) = origin.split_once("://")?;
    let host = default_port(scheme).and_then(|port| authority.strip_suffix(port));
    let authority = host.unwrap_or(authority);
    if authority.is_empty() { None } else { Some((scheme, authority)) }
}

/// As it would stand behind a host.
fn default_port(scheme: &str) -> Option<&'static str> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(":443")
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(":80")
    } else {
        None
    }
}

/// Whether one of the elements of a list is `token`.
fn lists<'a>(mut values: impl Iterator<Item = &'a [u8]>, token: &[u8]) -> bool {
    values.any(|value| {
        let mut elements = value.split(|&byte| byte == b',');
        elements.any(|element| element.trim_ascii().eq_ignore_ascii_case(token))
    })
}

/// A "value that, when decoded, is 16 bytes in length" (§4.2.1). "It is not necessary for the
/// server to base64-decode" it (§4.2.2), so the form is enough.
fn is_key(key: &[u8]) -> bool {
    let Some(digits) = key.strip_suffix(b"==") else { return false };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(values: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        values.iter().map(|value| value.as_bytes())
    }

    #[test]
    fn what_asks_for_a_websocket() {
        for (method, upgrade, connection, expected) in [
            ("GET", &["websocket"][..], &["Upgrade"][..], true),
            ("GET", &["WebSocket"], &["keep-alive, Upgrade"], true),
            ("GET", &["h2c, WEBSOCKET"], &["keep-alive", "upgrade"], true),
            ("GET", &["h2c", "websocket"], &[" upgrade ,close"], true),
            ("POST", &["websocket"], &["upgrade"], false),
            ("get", &["websocket"], &["upgrade"], false),
            ("GET", &["h2c"], &["upgrade"], false),
            ("GET", &["websockets"], &["upgrade"], false),
            ("GET", &[], &["upgrade"], false),
            ("GET", &["websocket"], &["keep-alive"], false),
            ("GET", &["websocket"], &[], false),
            ("GET", &["web socket"], &["upgrade"], false),
        ] {
            let is = is_websocket(method, values(upgrade), values(connection));
            assert_eq!(is, expected, "{method} {upgrade:?} {connection:?}");
        }
    }

    #[test]
    fn version_and_key() {
        const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
        let version = Err(HandshakeError::Version);
        let key = Err(HandshakeError::Key);
        for (given, keys, expected) in [
            (Some(&b"13"[..]), &[KEY][..], Ok(())),
            (Some(b"13"), &[b"++//AAAAAAAAAAAAAAAAAA=="], Ok(())),
            (None, &[KEY], version),
            (Some(b"8"), &[KEY], version),
            (Some(b"013"), &[KEY], version),
            (Some(b"13, 13"), &[KEY], version),
            (Some(b""), &[], version),
            (Some(b"13"), &[], key),
            (Some(b"13"), &[KEY, KEY], key),
            (Some(b"13"), &[b""], key),
            (Some(b"13"), &[b"dGhlIHNhbXBsZSBub25jZQ"], key),
            (Some(b"13"), &[b"dGhlIHNhbXBsZSBub25jZQA="], key),
            (Some(b"13"), &[b"dGhlIHNhbXBsZSBub25jZ==="], key),
            (Some(b"13"), &[b"dGhlIHNhbXBsZSBub25j-_=="], key),
            (Some(b"13"), &[b"dGhlIHNhbXBsZSBub25jZQQQ=="], key),
        ] {
            assert_eq!(check(given, keys), expected, "{given:?} {keys:?}");
        }
        assert_eq!(HandshakeError::Version.status(), 426);
        assert_eq!(HandshakeError::Key.status(), 400);
    }

    #[test]
    fn extensions_and_their_bits() {
        for (given, expected) in [
            (&[][..], (false, false)),
            (&[""], (false, false)),
            (&["permessage-deflate"], (true, false)),
            (&["Permessage-Deflate; client_max_window_bits=12"], (true, false)),
            (&["permessage-deflate;server_no_context_takeover, "], (true, false)),
            (&["x-other"], (true, true)),
            (&["permessage-deflate", "x-other; a=b"], (true, true)),
            (&["x-other,permessage-deflate"], (true, true)),
        ] {
            assert_eq!(extensions(values(given)), expected, "{given:?}");
        }
    }

    #[test]
    fn origins() {
        let same = || vec![Origin::Same];
        let exact = |origin: &str| vec![Origin::Exact(origin.to_owned())];
        for (origin, host, allowed, expected) in [
            (None, "a.example", vec![], true),
            (Some("https://a.example"), "a.example", vec![], false),
            (Some("https://a.example"), "b.example", vec![Origin::Any], true),
            (Some("null"), "a.example", vec![Origin::Any], true),
            (Some("https://a.example"), "a.example", same(), true),
            (Some("HTTPS://A.example"), "a.EXAMPLE", same(), true),
            (Some("https://a.example:443"), "a.example", same(), true),
            (Some("https://a.example"), "a.example:443", same(), true),
            (Some("http://a.example"), "a.example:80", same(), true),
            (Some("http://a.example:8080"), "a.example:8080", same(), true),
            (Some("http://[::1]:80"), "[::1]", same(), true),
            (Some("http://a.example:8080"), "a.example", same(), false),
            (Some("http://a.example:443"), "a.example", same(), false),
            (Some("https://a.example"), "a.example:80", same(), false),
            (Some("https://evil.example"), "a.example", same(), false),
            (Some("https://a.example.evil.example"), "a.example", same(), false),
            (Some("https://evil@a.example"), "a.example", same(), false),
            (Some("https://a.example/"), "a.example", same(), false),
            (Some("ftp://a.example"), "a.example", same(), false),
            (Some("a.example"), "a.example", same(), false),
            (Some("null"), "null", same(), false),
            (Some("https://"), "", same(), false),
            (Some(""), "", same(), false),
            (Some("null"), "a.example", exact("null"), true),
            (Some("https://b.example"), "a.example", exact("https://b.example"), true),
            (Some("https://B.example"), "a.example", exact("https://b.example:443"), true),
            (Some("http://b.example"), "a.example", exact("https://b.example"), false),
            (Some("https://b.example:8443"), "a.example", exact("https://b.example"), false),
            (Some("null"), "a.example", exact("https://b.example"), false),
            (Some("app://chat"), "a.example", exact("app://chat"), true),
        ] {
            let is = origin_allowed(origin, host, &allowed);
            assert_eq!(is, expected, "{origin:?} {host} {allowed:?}");
        }
        let both = [Origin::Exact("https://b.example".to_owned()), Origin::Same];
        assert!(origin_allowed(Some("https://a.example"), "a.example", &both), "any of them");
    }
}
