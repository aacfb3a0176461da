//! URLs of endpoints: `http://host:port`, `https://host:port`, `unix:/path`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::defaults::UNIX_PATH_MAX_BYTES;
use super::model::Address;
use super::units::Invalid;

/// What is expected where an endpoint is.
pub(super) const AN_ENDPOINT: &str = "a URL such as \"http://127.0.0.1:8000\"";
/// What is expected where a unix socket is.
const A_SOCKET: &str = "a unix socket such as \"unix:/run/model.sock\"";

/// Where an upstream server is, and whether TLS is spoken to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Host and port, or the path of a unix socket.
    pub address: Address,
    /// The scheme is `https`.
    pub https: bool,
}

impl Url {
    /// `host:port`, an IPv6 address in brackets; or the path of a unix socket.
    pub(super) fn name(&self) -> String {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// As [`Url::name`], with a scheme unless it is plain HTTP over TCP: no two servers share it,
    /// and its colon keeps it apart from every name in the file.
    pub(super) fn unique_name(&self) -> String {
        match &self.address {
            Address::Tcp { .. } if self.https => format!("https://{}", self.name()),
            Address::Tcp { .. } => self.name(),
            Address::Unix(_) => format!("unix:{}", self.name()),
        }
    }
}

/// Whether `text` is meant to be a URL rather than a name.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://") || has_scheme(text, "unix:")
}

/// An endpoint's URL, with nothing but an optional `/` after the authority.
pub(super) fn endpoint(text: &str) -> Result<Url, Invalid> {
    if has_scheme(text, "unix:") {
        return unix(&text["unix:".len()..]);
    }
    let lower = text.to_ascii_lowercase();
    let (scheme, default_port) = match lower.split_once("://") {
        Some((scheme @ "http", _)) => (scheme, 80),
        Some((scheme @ "https", _)) => (scheme, 443),
        _ => {
            let invalid = Invalid::new(AN_ENDPOINT);
            let meant = format!("http://{text}");
            let is_bare = !lower.contains("://") && endpoint(&meant).is_ok();
            return Err(if is_bare { invalid.suggest(meant) } else { invalid });
        }
    };
    let rest = &lower[scheme.len() + "://".len()..];
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let because = |reason: &str| Invalid::new(format!("{AN_ENDPOINT} {reason}"));
    if !matches!(path, "" | "/") {
        return Err(because("without a path").suggest(format!("{scheme}://{authority}")));
    }
    if authority.contains('@') {
        return Err(because("without a user name"));
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Err(because("with an IPv6 address in brackets")
            .suggest(format!("{scheme}://[{authority}]")));
    }
    let (host, port) = split_authority(authority, default_port)?;
    Ok(Url { address: Address::Tcp { host, port }, https: scheme == "https" })
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`; all lower case.
fn split_authority(authority: &str, default_port: u16) -> Result<(String, u16), Invalid> {
    let because = |reason: &str| Invalid::new(format!("{AN_ENDPOINT} {reason}"));
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').unwrap_or((rest, "]"));
        let address: Ipv6Addr =
            address.parse().map_err(|_| because("with an IPv6 address between [ and ]"))?;
        (address.to_string(), port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        if !is_host_name(host) {
            return Err(because("with a host name or an address"));
        }
        (host.to_owned(), port)
    };
    let number = match port.strip_prefix(':') {
        None if port.is_empty() => Some(default_port),
        None => None,
        Some(number) => {
            number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten()
        }
    };
    let port =
        number.filter(|port| *port != 0).ok_or_else(|| because("with a port of 1 to 65535"))?;
    Ok((host, port))
}

/// The path of a unix socket. It becomes a label and a line of the log, so it is visible ASCII.
fn unix(path: &str) -> Result<Url, Invalid> {
    if path.starts_with("//") {
        let meant = format!("unix:/{}", path.trim_start_matches('/'));
        return Err(Invalid::new(format!("{A_SOCKET} with one slash")).suggest(meant));
    }
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(Invalid::new(format!("{A_SOCKET} with an absolute path")));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new(format!("{A_SOCKET} of visible ASCII characters")));
    }
    if path.len() > UNIX_PATH_MAX_BYTES {
        let message = format!("{A_SOCKET} with a path of at most {UNIX_PATH_MAX_BYTES} bytes");
        return Err(Invalid::new(message));
    }
    Ok(Url { address: Address::Unix(PathBuf::from(path)), https: false })
}

/// RFC 3986, 3.1: schemes are compared without regard to case.
fn has_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Labels of letters, digits, `-` and `_` (container names have it), with dots between them.
/// The last label of a name in digits would make it a broken IPv4 address.
pub(super) fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    let looks_numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if looks_numeric {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggestion(text: &str) -> Option<String> {
        endpoint(text).unwrap_err().suggestion
    }

    #[test]
    fn a_url_says_where_and_how() {
        let read = |text: &str| endpoint(text).map(|url| (url.name(), url.https)).unwrap();
        let plain = |name: &str| (name.to_owned(), false);
        let tls = |name: &str| (name.to_owned(), true);
        assert_eq!(read("http://127.0.0.1:8000"), plain("127.0.0.1:8000"));
        assert_eq!(read("http://Models.internal/"), plain("models.internal:80"));
        assert_eq!(read("HTTP://gpu_1"), plain("gpu_1:80"));
        assert_eq!(read("http://[::1]:8000"), plain("[::1]:8000"));
        assert_eq!(read("https://Models.internal"), tls("models.internal:443"));
        assert_eq!(read("HTTPS://10.0.0.1:8443/"), tls("10.0.0.1:8443"));
        assert_eq!(read("https://[::1]"), tls("[::1]:443"));
        assert_eq!(read("unix:/run/vLLM.sock"), plain("/run/vLLM.sock"));
        assert_eq!(read("UNIX:/run/a:b"), plain("/run/a:b"));
        let Address::Tcp { host, .. } = endpoint("http://[0:0::1]").unwrap().address else {
            panic!("an address of IPv6 is no socket");
        };
        assert_eq!(host, "::1", "without brackets, canonical");
    }

    #[test]
    fn servers_that_differ_have_names_that_differ() {
        let name = |text: &str| endpoint(text).unwrap().unique_name();
        assert_eq!(name("http://a:443"), "a:443");
        assert_eq!(name("https://a"), "https://a:443");
        assert_eq!(name("unix:/a"), "unix:/a");
        assert_eq!(endpoint(&name("https://[::1]")), endpoint("https://[::1]"));
    }

    #[test]
    fn what_is_no_endpoint() {
        let bad = [
            "",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a:+1",
            "http://a/v1",
            "http://a?x",
            "http://a#x",
            "http://u:p@a",
            "http://[::1",
            "http://[::1]x",
            "http://[a]",
            "http://a b",
            "http://a..b",
            "http://1.2.3",
            "http://é",
            "ftp://a",
            "https:a",
            "https://",
            "https://a/v1",
            "http://::1",
            "unix:",
            "unix:/",
            "unix:run/a.sock",
            "unix:/run/",
            "unix:///run/a.sock",
            "unix:/run/a b",
            "unix:/run/é",
            "unix:/run/a\n",
            "é",
        ];
        for text in bad {
            assert!(endpoint(text).is_err(), "{text:?} is no endpoint");
        }
        assert!(endpoint(&format!("unix:/{}", "x".repeat(106))).is_ok());
        assert!(endpoint(&format!("unix:/{}", "x".repeat(107))).is_err());
        assert_eq!(suggestion("127.0.0.1:8000").as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(suggestion("http://a:1/v1/x").as_deref(), Some("http://a:1"));
        assert_eq!(suggestion("https://a/v1").as_deref(), Some("https://a"));
        assert_eq!(suggestion("https://::1").as_deref(), Some("https://[::1]"));
        assert_eq!(suggestion("unix:///run/a.sock").as_deref(), Some("unix:/run/a.sock"));
    }
}
