//! Request heads, from HTTP/1.1 to HTTP/2 (RFC 9113 §8.3.1). Pure.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request};

use crate::http1::head::RequestHead;
use crate::http2::heads::{self, Unsendable};

/// `Host` becomes `:authority`; the others are about one HTTP/1 connection, too.
const LEFT_OUT: [&str; 3] = ["host", "http2-settings", "te"];

/// Translates a request head. The scheme is `https` or `http` as the connection is.
///
/// Other protocols cannot be asked for: `Upgrade` is left out, as RFC 9113 §8.6 demands.
pub(super) fn translate(head: &RequestHead, https: bool) -> Result<Request<()>, Unsendable> {
    let method = Method::from_bytes(head.method.as_bytes()).map_err(|_| Unsendable("method"))?;
    if method == Method::CONNECT {
        return Err(Unsendable("method"));
    }
    let host = head.fields.get("host").unwrap_or_default();
    let scheme = if https { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(host).map_err(|_| Unsendable("Host"))?)
        .path_and_query(path(&head.target)?)
        .build()
        .map_err(|_| Unsendable("target"))?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = fields(head)?;
    Ok(request)
}

fn path(target: &str) -> Result<PathAndQuery, Unsendable> {
    let path = PathAndQuery::try_from(target).or_else(|_| {
        PathAndQuery::from_maybe_shared(Bytes::from(escaped(target.as_bytes()).into_owned()))
    });
    path.map_err(|_| Unsendable("target"))
}

/// The target with what no URI may hold written as `%XX`. HTTP/1 servers take such bytes as they
/// are; for them it is the same resource (RFC 3986 §2.4).
fn escaped(target: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
    if target.iter().all(is_plain) {
        return Cow::Borrowed(target);
    }
    let mut out = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if is_plain(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    Cow::Owned(out)
}

fn fields(head: &RequestHead) -> Result<HeaderMap, Unsendable> {
    let mut map = heads::fields(&head.fields, &LEFT_OUT)?;
    if head.fields.has_token("te", "trailers") {
        // RFC 9113 §8.2.2: TE "MUST NOT contain any value other than "trailers"".
        map.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;
    use crate::http1::head::parse_request;

    fn translated(text: &str) -> Result<Request<()>, Unsendable> {
        translate(&parse_request(text.as_bytes()).unwrap().unwrap().0, true)
    }

    #[test]
    fn rfc9113_8_3_1_pseudo_header_fields() {
        let request = translated("POST /v1/chat?x=1 HTTP/1.1\r\nHost: a.b:81\r\n\r\n").unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://a.b:81/v1/chat?x=1");
        assert!(request.headers().is_empty(), "Host has become :authority");
        let ping = translated("OPTIONS * HTTP/1.1\r\nHost: [::1]\r\n\r\n").unwrap();
        assert_eq!(ping.uri().path(), "*");
    }

    #[test]
    fn rfc9113_8_2_2_connection_specific_fields_are_left_out() {
        let request = translated(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\n\
             X-Hop: 1\r\nProxy-Connection: x\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: x\r\nTE: gzip, trailers\r\nX-Stays: 1\r\nX-Stays: 2\r\n\r\n",
        );
        let mut request = request.unwrap();
        assert_eq!(request.headers_mut().remove("te").unwrap(), "trailers");
        let stays: Vec<_> = request.headers().iter().collect();
        assert_eq!(stays.len(), 2, "{stays:?}");
        assert!(stays.iter().all(|(name, _)| *name == "x-stays"));
        let other = translated("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n").unwrap();
        assert!(other.headers().is_empty());
    }

    #[test]
    fn names_become_lower_case_and_values_stay() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; b=2\r\nX-Bytes: \u{fc}\r\n\r\n";
        let request = translated(head).unwrap();
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["cookie", "x-bytes"]);
        assert_eq!(request.headers()["cookie"], "a=1; b=2");
        assert_eq!(request.headers()["x-bytes"].as_bytes(), "\u{fc}".as_bytes());
    }

    #[test]
    fn what_no_uri_may_hold_is_escaped() {
        for (target, expected) in
            [("/a<b>", "/a%3Cb%3E"), ("/a?<", "/a?%3C"), ("/{a}?b=|", "/{a}?b=|")]
        {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let request = translated(&head).unwrap();
            assert_eq!(request.uri().path_and_query().unwrap().as_str(), expected, "{target}");
        }
    }

    #[test]
    fn what_has_no_form_is_refused() {
        for (head, part) in [
            ("GET / HTTP/1.1\r\n\r\n", "Host"),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "Host"),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "method"),
        ] {
            assert_eq!(translated(head).unwrap_err(), Unsendable(part), "{head:?}");
        }
    }
}
