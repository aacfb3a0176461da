//! What a request must be before anything is done for it (RFC 9112 §3). Pure.

use std::borrow::Cow;

use crate::http1::framing::{self, Framing};
use crate::http1::head::{RequestHead, Version};
use crate::proxy::reply::Denial;
use crate::syntax::authority::{host_name, is_same};
use crate::syntax::path;

/// What was learned from an admitted head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The body's framing.
    pub framing: Framing,
    /// As routes compare it, without port.
    pub host: String,
    /// The request target in origin form, query included; or `*`.
    pub target: String,
    /// Where the target's path ends.
    path_end: usize,
    /// The path by which a route is chosen, if the target has it in another form.
    plain_path: Option<String>,
    /// Whether the client wants to use its connection again.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl Admitted {
    /// The path by which a route is chosen: the target without its query, and without needless
    /// percent-encoding (see [`path::check`]). `OPTIONS *` asks about the server as a whole, and is
    /// routed as `/` is.
    pub fn path(&self) -> &str {
        self.plain_path.as_deref().unwrap_or(&self.target[..self.path_end])
    }
}

/// Checks a head, and takes its target; normalizes an absolute one into `Host` and origin form.
pub fn admit(head: &mut RequestHead) -> Result<Admitted, Denial> {
    let framing = framing::of_request(head).map_err(Denial::bad_request)?;
    if head.method == "CONNECT" {
        return Err(Denial::new(405, "method_not_allowed", "CONNECT is not for this proxy"));
    }
    let sent = std::mem::take(&mut head.target);
    // RFC 9110 §4.2.5: a fragment is not part of a request target.
    if sent.as_bytes().contains(&b'#') {
        return Err(Denial::bad_request("the request target has a fragment"));
    }
    let is_path = sent.starts_with('/');
    let absolute = if is_path { None } else { sent.split_once("://") };
    let (authority, target) = match absolute {
        _ if is_path => (None, None),
        Some((scheme, rest)) if is_http(scheme) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            if end == 0 {
                return Err(Denial::bad_request(BAD_HOST));
            }
            let path = match &rest[end..] {
                // RFC 9112 §3.2.4: the asterisk form of a target without a path.
                "" if head.method == "OPTIONS" => "*".to_owned(),
                path if path.starts_with('/') => path.to_owned(),
                query => format!("/{query}"),
            };
            (Some((scheme, &rest[..end])), Some(path))
        }
        _ if sent == "*" && head.method == "OPTIONS" => (None, None),
        _ => return Err(Denial::bad_request("the request target is not a path")),
    };
    let host = host(head)?;
    let host = match authority {
        None => host,
        Some((scheme, authority)) => {
            let name = host_name(authority).ok_or_else(|| Denial::bad_request(BAD_HOST))?;
            // RFC 9112 §3.2: "a client MUST send a field value for Host that is identical to that
            // authority component". One that does not has somebody in between read the other one.
            if let Some(sent) = head.fields.get("host")
                && !is_same(sent, authority.as_bytes(), scheme.eq_ignore_ascii_case("https"))
            {
                return Err(Denial::bad_request("Host is not the host of the request target"));
            }
            let authority = authority.to_owned();
            head.fields.set("Host", authority);
            name
        }
    };
    let target = target.unwrap_or(sent);
    let path_end = target.bytes().position(|byte| byte == b'?').unwrap_or(target.len());
    let path = if target == "*" { "/" } else { &target[..path_end] };
    let plain_path = match path::check(path).map_err(Denial::bad_request)? {
        Cow::Borrowed(path) if target.starts_with(path) => None,
        plain => Some(plain.into_owned()),
    };
    let says = |token| head.fields.has_token("connection", token);
    let keep_alive = match head.version {
        Version::Http11 | Version::Http2 => !says("close"),
        Version::Http10 => says("keep-alive") && !says("close"),
    };
    let expects_continue =
        head.version != Version::Http10 && head.fields.has_token("expect", "100-continue");
    Ok(Admitted { framing, host, target, path_end, plain_path, keep_alive, expects_continue })
}

/// RFC 9110 §4.2.3: schemes compare without case.
fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

const BAD_HOST: &str = "Host is not a host name or address with an optional port";

fn host(head: &RequestHead) -> Result<String, Denial> {
    let mut values = head.fields.all("host");
    match (values.next(), values.next()) {
        // RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any
        // HTTP/1.1 request message that lacks a Host header field and to any request message that
        // contains more than one Host header field line".
        (None, _) if head.version != Version::Http10 => Err(Denial::bad_request("Host is missing")),
        (_, Some(_)) => Err(Denial::bad_request("Host is there twice")),
        (None, None) => Ok(String::new()),
        (Some(value), None) => std::str::from_utf8(value)
            .ok()
            .and_then(host_name)
            .ok_or_else(|| Denial::bad_request(BAD_HOST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::parse_request;

    fn check(text: &str) -> Result<Admitted, Denial> {
        admit(&mut parse_request(text.as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn hosts_and_targets() {
        for (start, host, expected) in [
            ("GET /a?b", "Host: A.Example:80", ("a.example", "/a?b")),
            ("GET /a", "Host: [::1]:80", ("[::1]", "/a")),
            ("GET /a", "Host:", ("", "/a")),
            ("GET http://b:81/c?d", "Host: B:81", ("b", "/c?d")),
            ("GET http://b?d", "Host: b:80", ("b", "/?d")),
            ("GET https://b:443", "Host: b", ("b", "/")),
            ("GET HTTP://b:/c", "Host: b", ("b", "/c")),
            ("OPTIONS *", "Host: a", ("a", "*")),
            ("OPTIONS http://b", "Host: b", ("b", "*")),
        ] {
            let found = check(&format!("{start} HTTP/1.1\r\n{host}\r\n\r\n")).unwrap();
            assert_eq!((found.host.as_str(), found.target.as_str()), expected, "{start} {host}");
        }
    }

    #[test]
    fn the_server_as_a_whole_is_routed_as_its_root() {
        assert_eq!(check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().path(), "/");
    }

    #[test]
    fn an_absolute_target_replaces_host() {
        let text = "GET http://b:81/ HTTP/1.1\r\nHost: B:81\r\n\r\n";
        let mut head = parse_request(text.as_bytes()).unwrap().unwrap().0;
        admit(&mut head).unwrap();
        assert_eq!(head.fields.all("host").collect::<Vec<_>>(), [b"b:81"]);
    }

    #[test]
    fn refusals() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http://b/ HTTP/1.1\r\nHost: b:81\r\n\r\n", 400),
            ("GET http://b/ HTTP/1.1\r\nHost: b:443\r\n\r\n", 400),
            ("GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
            ("GET /v1/../a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        ] {
            assert_eq!(check(text).unwrap_err().status, status, "{text:?}");
        }
    }

    #[test]
    fn persistence() {
        for (version, connection, expected) in [
            ("1.1", "x", true),
            ("1.1", "Close", false),
            ("1.0", "x", false),
            ("1.0", "keep-alive", true),
            ("1.0", "keep-alive, close", false),
        ] {
            let text =
                format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
            assert_eq!(check(&text).unwrap().keep_alive, expected, "{version} {connection}");
        }
    }
}
