//! Request heads, from HTTP/2 to HTTP/1.1 (RFC 9113 §8.3.1). Pure.
//!
//! A head is written as HTTP/1.1 and read again: so what holds for heads that came as HTTP/1.1
//! holds for these, and nothing can be said in HTTP/2 that an upstream would read differently.

use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, TE};
use http::{Method, Request};

use super::tunnel::Tunnel;
use crate::http1::framing::{self, Framing};
use crate::http1::head::{HeadError, RequestHead, Version, parse_request};
use crate::http2::heads::CONNECTION_SPECIFIC;
use crate::syntax::authority::is_same;

/// A request in the terms of HTTP/1.1.
#[derive(Debug)]
pub(super) struct Translated {
    /// Its head.
    pub(super) head: RequestHead,
    /// How its body is read. [`Framing::UntilClose`] is a tunnel: as it comes.
    pub(super) framing: Framing,
    /// The WebSocket that it asks for.
    pub(super) tunnel: Option<Tunnel>,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// "Malformed requests or responses that are detected MUST be treated as a stream error of type
    /// PROTOCOL_ERROR" (RFC 9113 §8.1.1). Says what.
    Malformed(&'static str),
    /// It is answered with this status.
    Status(u16),
}

use Refusal::{Malformed, Status};

/// Translates a head; `ended` says that the stream ended with it. `tunnel` makes what a WebSocket
/// needs.
///
/// - `:authority` becomes `Host`, the first field.
/// - A body without a length comes in chunks.
/// - What asks for a WebSocket (RFC 8441) becomes a handshake of HTTP/1.1.
/// - A plain CONNECT passes with the authority as its target, to be refused as others are.
pub(super) fn translate<B>(
    request: &Request<B>,
    ended: bool,
    tunnel: impl FnOnce() -> Option<Tunnel>,
) -> Result<Translated, Refusal> {
    let uri = request.uri();
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Malformed("the scheme is not http or https"));
    }
    let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
    let tunnel = match protocol {
        None => None,
        Some(name) if name.eq_ignore_ascii_case("websocket") => Some(tunnel().ok_or(Status(500))?),
        // RFC 9220 §3: "501 (Not Implemented)" is for a protocol that is not known.
        Some(_) => return Err(Status(501)),
    };
    let (method, target) = match &tunnel {
        Some(_) => ("GET", path(request)?),
        None if *request.method() == Method::CONNECT => {
            ("CONNECT", uri.authority().map(|a| a.as_str()).unwrap_or_default())
        }
        None => (request.method().as_str(), path(request)?),
    };
    let mut text = Vec::with_capacity(512);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    if let Some(host) = host(request)? {
        line(&mut text, "host", host);
    }
    field_lines(&mut text, request.headers(), tunnel.is_some())?;
    text.extend_from_slice(b"\r\n");
    let mut head = match parse_request(&text) {
        Ok(Some((head, length))) if length == text.len() => head,
        Err(HeadError::Syntax(httparse::Error::TooManyHeaders)) => return Err(Status(431)),
        _ => return Err(Malformed("the head cannot be said in HTTP/1.1")),
    };
    head.version = Version::Http2;
    let framing = match &tunnel {
        Some(tunnel) => {
            head.fields.append("connection", "Upgrade");
            head.fields.append("upgrade", "websocket");
            head.fields.append("sec-websocket-key", tunnel.key());
            Framing::UntilClose
        }
        None if *request.method() == Method::CONNECT => Framing::None,
        None => framing(&mut head, ended)?,
    };
    Ok(Translated { head, framing, tunnel })
}

/// RFC 9113 §8.3.1: `:path` is "*" for OPTIONS, and begins with a slash otherwise. An absolute one
/// would be taken for a proxy's.
fn path<B>(request: &Request<B>) -> Result<&str, Refusal> {
    match request.uri().path_and_query().map(|path| path.as_str()) {
        Some("*") if *request.method() == Method::OPTIONS => Ok("*"),
        Some(path) if path.starts_with('/') => Ok(path),
        _ => Err(Malformed("the path does not begin with a slash")),
    }
}

/// RFC 9113 §8.3.1: a server SHOULD treat a request as malformed "if it contains a Host header
/// field that identifies an entity that differs from the entity in the ":authority"".
fn host<B>(request: &Request<B>) -> Result<Option<&[u8]>, Refusal> {
    let mut fields = request.headers().get_all(HOST).iter().map(|value| value.as_bytes());
    let (field, more) = (fields.next(), fields.next());
    if more.is_some() {
        return Err(Malformed("Host is there twice"));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let is_https = request.uri().scheme_str() == Some("https");
    match (authority, field) {
        // RFC 9113 §8.3.1: it "MUST NOT include the deprecated userinfo subcomponent".
        (Some(authority), _) if authority.contains(&b'@') => {
            Err(Malformed(":authority has a user"))
        }
        (Some(authority), Some(field)) if !is_same(authority, field, is_https) => {
            Err(Malformed(":authority and Host differ"))
        }
        _ => Ok(authority.or(field)),
    }
}

fn field_lines(text: &mut Vec<u8>, fields: &HeaderMap, tunnel: bool) -> Result<(), Refusal> {
    for name in fields.keys() {
        let values: Vec<_> =
            fields.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
        if CONNECTION_SPECIFIC.contains(&name.as_str()) {
            return Err(Malformed("a field about a connection"));
        }
        if *name == TE && values.iter().any(|value| !value.eq_ignore_ascii_case(b"trailers")) {
            return Err(Malformed("TE is not trailers"));
        }
        if *name == HOST || tunnel && is_ours_in_tunnels(name) {
            continue;
        }
        if *name == COOKIE {
            // RFC 9113 §8.2.3: crumbs "MUST be concatenated into a single octet string using the
            // two-octet delimiter of 0x3b, 0x20".
            line(text, name.as_str(), &values.join(&b"; "[..]));
            continue;
        }
        for value in values {
            line(text, name.as_str(), value);
        }
    }
    Ok(())
}

/// The key is ours to choose; a tunnel has no length.
fn is_ours_in_tunnels(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || matches!(name.as_str(), "sec-websocket-key" | "sec-websocket-accept")
}

/// The framing of the body, which the fields are made to say.
fn framing(head: &mut RequestHead, ended: bool) -> Result<Framing, Refusal> {
    let length = framing::length(&head.fields);
    match (length.map_err(|_| Malformed("Content-Length is not one number"))?, ended) {
        (Some(length), true) if length > 0 => Err(Malformed("Content-Length without a body")),
        (Some(length), _) => Ok(Framing::Length(length)),
        (None, true) => {
            if expects_content(&head.method) {
                head.fields.append("content-length", "0");
            }
            Ok(Framing::None)
        }
        (None, false) => {
            head.fields.append("transfer-encoding", "chunked");
            Ok(Framing::Chunked)
        }
    }
}

/// RFC 9110 §8.6: a client SHOULD send a length "when the method defines a meaning for enclosed
/// content", be it 0; some servers answer 411 otherwise.
fn expects_content(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn line(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
