//! Hosts, as requests name them (RFC 9110 §7.2) and as routes compare them. Pure.

use std::net::Ipv6Addr;

/// The name in `name`, `name:port`, `[v6]` or `[v6]:port` as routes compare it; an empty one is
/// allowed (RFC 9112 §3.2 for targets without an authority). `None` is no host.
///
/// - In lower case (RFC 9110 §4.2.3).
/// - Without the dot at the end: `a.example.` is the same host as `a.example`, said in full
///   (RFC 1034 §3.1), and upstreams serve both alike.
/// - Addresses in the one form of RFC 5952, since `[0:0::1]` is `[::1]`.
///
/// A percent-encoded name (RFC 3986 §3.2.2) is none here: nobody sends one, and who decodes it sees
/// another host than who does not.
pub fn host_name(authority: &str) -> Option<String> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let colon = authority.bytes().position(|byte| byte == b':');
            let (name, port) = authority.split_at(colon.unwrap_or(authority.len()));
            (reg_name(name)?, port)
        }
    };
    // Digits only: `u16::from_str` would take "+80".
    let is_port = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
    };
    let port_is_legal = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.is_empty() || is_port(digits),
    };
    port_is_legal.then_some(name)
}

/// RFC 3986 §3.2.2: `reg-name = *( unreserved / pct-encoded / sub-delims )`.
fn reg_name(name: &str) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte);
    if name.is_empty() {
        return Some(String::new());
    }
    let short = name.strip_suffix('.').unwrap_or(name);
    // Two dots in a row: some would take away the second one, too.
    if !name.bytes().all(legal)
        || short.as_bytes().split(|&byte| byte == b'.').any(<[u8]>::is_empty)
    {
        return None;
    }
    Some(short.to_ascii_lowercase())
}

/// Whether two authorities are the same but for case and the port of their scheme.
pub fn is_same(one: &[u8], other: &[u8], is_https: bool) -> bool {
    let port: &[u8] = if is_https { b":443" } else { b":80" };
    let bare = |text: &[u8]| {
        let text = text.strip_suffix(port).unwrap_or(text);
        text.strip_suffix(b":").unwrap_or(text).to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_host_has_one_name() {
        for (authority, expected) in [
            ("", ""),
            (":80", ""),
            ("A.Example:80", "a.example"),
            ("a.example.", "a.example"),
            ("A.example.:80", "a.example"),
            ("a:", "a"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:80", "[::1]"),
            ("[2001:DB8::0:1]", "[2001:db8::1]"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("a_b~c", "a_b~c"),
        ] {
            assert_eq!(host_name(authority).as_deref(), Some(expected), "{authority}");
        }
    }

    #[test]
    fn what_is_no_host() {
        for authority in [
            "a%2eexample",
            "%61.example",
            "a.example..",
            ".",
            "..",
            ".a",
            "a..b",
            "a/b",
            "u@a",
            "a, b",
            "a:b",
            "a:+80",
            "a:65536",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[::1.]",
            "\u{e4}",
        ] {
            assert_eq!(host_name(authority), None, "{authority}");
        }
    }

    #[test]
    fn authorities_differ_in_case_and_in_what_the_scheme_says() {
        for (one, other, is_https, expected) in [
            ("a", "A:80", false, true),
            ("a:", "a", false, true),
            ("a:443", "a", true, true),
            ("a:443", "a", false, false),
            ("a:80", "a", true, false),
            ("a", "b", false, false),
            ("a80", "a", false, false),
        ] {
            let found = is_same(one.as_bytes(), other.as_bytes(), is_https);
            assert_eq!(found, expected, "{one} {other} {is_https}");
        }
    }
}
