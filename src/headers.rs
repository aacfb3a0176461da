//! What a proxy does to header fields on the way up and on the way down (RFC 9110 §7.6).

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;

use crate::config::model::{Auth, Headers, HostHeader, Network};
use crate::http1::encode::decimal;
use crate::http1::fields::{Field, Fields};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::syntax::name::{HOP_BY_HOP, is_twin, mark, marks};
use crate::trace::Trace;

/// Our member of `Via` (RFC 9110 §7.6.3: a pseudonym will do) for a message that came in a version.
const fn via_member(received: Version) -> &'static str {
    match received {
        Version::Http10 => "1.0 longwire",
        Version::Http11 => "1.1 longwire",
        Version::Http2 => "2.0 longwire",
    }
}

/// Longest request id taken over from a client.
const REQUEST_ID_MAX_BYTES: usize = 128;

/// Fields that `Connection` must not be able to remove, besides [`OWN`], the WebSocket's and those
/// that authentication goes by: a request that loses them on the way means something else to the
/// upstream than to us.
const NEVER_LISTED: &[&str] = &["host", "content-type", "authorization", "cookie", "origin"];

/// What the names of a WebSocket handshake's fields begin with (RFC 6455 §11.3).
const WEBSOCKET: &[u8] = b"sec-websocket-";

/// Fields that only we may set.
const OWN: &[&str] =
    &["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// Fields that are added besides: `Via`, `traceparent` and the framing.
const ADDED: usize = 3;

/// What a route makes of the fields of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Which `Host` goes on.
    pub host: &'a HostHeader,
    /// Fields to set and to remove.
    pub headers: &'a Headers,
    /// Who may come in, and by which fields.
    pub auth: &'a Auth,
    /// The endpoint's own `host:port`.
    pub authority: &'a str,
}

/// By what a request is found again, at the upstream and beyond.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// Its id.
    pub request_id: &'a str,
    /// Its place in a trace; without one, what the client says about that passes.
    pub trace: Option<&'a Trace>,
}

/// Who sent a request, as far as it concerns the fields.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// `[server] trusted_proxies`.
    pub trusted: &'a [Network],
    /// `http` or `https`.
    pub scheme: &'static str,
}

impl Sender<'_> {
    fn is_trusted(&self) -> bool {
        self.peer.is_some_and(|peer| self.trusts(peer.ip()))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        Network::is_among(self.trusted, address)
    }

    /// The client's address: the nearest one that no trusted proxy has, by `X-Forwarded-For` as far
    /// as that is believed. `None` if a trusted proxy has named somebody by no address (`unknown`,
    /// say): the proxy's own must not stand in for that one's, since it may be on a list.
    pub fn client_address(&self, head: &RequestHead) -> Option<IpAddr> {
        let mut nearest = self.peer?.ip().to_canonical();
        let claimed: Vec<_> = head.fields.tokens("x-forwarded-for").collect();
        for claim in claimed.into_iter().rev() {
            if !self.trusts(nearest) {
                break;
            }
            nearest = claimed_address(claim)?.to_canonical();
        }
        Some(nearest)
    }
}

/// `192.0.2.1` or `2001:db8::1`; some proxies write the port, too, or `[2001:db8::1]`.
fn claimed_address(claim: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(claim).ok()?;
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(with_port).or_else(bare)
}

/// The client's request id if it is short and harmless, so that it can go into logs and fields.
pub fn request_id(head: &RequestHead) -> Option<&str> {
    let text = std::str::from_utf8(head.fields.get("x-request-id")?).ok()?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let fits = !text.is_empty() && text.len() <= REQUEST_ID_MAX_BYTES;
    // It is a segment of paths, too, and these would not stay in them (RFC 3986 §5.2.4).
    let stays = text != "." && text != "..";
    (fits && stays && text.bytes().all(harmless)).then_some(text)
}

/// A request's fields as they go to the upstream. There is no `Connection` field among them: in
/// HTTP/1.1 that means keep-alive.
pub fn to_upstream(
    head: &RequestHead,
    framing: Framing,
    sender: Sender<'_>,
    marks: Marks<'_>,
    rules: Rules<'_>,
) -> Fields {
    let Rules { host, headers, auth, authority } = rules;
    let original_host = head.fields.get("host").unwrap_or_default();
    let is_hop_by_hop = hop_by_hop(&head.fields, auth);
    let is_lookalike = lookalike(headers, auth);
    // Before the route's own are set: one of them may be the upstream's key.
    let passes = |field: Field<'_>| {
        !is_hop_by_hop(field.name) && !auth.hides(field.name) && !is_lookalike(field.name)
    };
    let mut fields = head.fields.with_room(OWN.len() + ADDED + headers.request_set.len());
    fields.retain(passes);
    if head.version == Version::Http10 {
        // RFC 9110 §10.1.1: an expectation in an HTTP/1.0 request must be ignored.
        fields.remove("expect");
    }
    match host {
        // A request without Host is HTTP/1.0; the upstream is spoken to in 1.1 and must have one.
        HostHeader::Preserve if !original_host.is_empty() => {}
        HostHeader::Preserve | HostHeader::Upstream => fields.set("Host", authority),
        HostHeader::Literal(host) => fields.set("Host", host),
    }
    forwarded(&mut fields, original_host, sender);
    via(&mut fields, head.version);
    fields.set("X-Request-Id", marks.request_id);
    if let Some(trace) = marks.trace {
        trace.write(&mut fields);
    }
    apply(&mut fields, &headers.request_remove, &headers.request_set);
    write_framing(&mut fields, framing);
    fields
}

fn forwarded(fields: &mut Fields, host: &[u8], sender: Sender<'_>) {
    let trusted = sender.is_trusted();
    let address = sender.peer.map(|peer| peer.ip().to_canonical());
    let mut space = [0; ADDRESS_MAX_BYTES];
    let node = written(address, &mut space);
    let theirs = |fields: &Fields, name| if trusted { list(fields, name) } else { Vec::new() };
    let before = theirs(fields, "X-Forwarded-For");
    fields.set_with("X-Forwarded-For", |text| {
        text.extend_from_slice(&before);
        text.extend_from_slice(node);
    });
    let is_text = std::str::from_utf8(host).is_ok() && !host.is_empty();
    let can_be_quoted = is_text && !host.iter().any(|byte| matches!(byte, b'"' | b'\\'));
    let before = theirs(fields, "Forwarded");
    fields.set_with("Forwarded", |text| {
        text.extend_from_slice(&before);
        let is_bracketed = matches!(address, Some(IpAddr::V6(_)));
        text.extend_from_slice(if is_bracketed { b"for=\"[" } else { b"for=" });
        text.extend_from_slice(node);
        text.extend_from_slice(if is_bracketed { b"]\";proto=" } else { b";proto=" });
        text.extend_from_slice(sender.scheme.as_bytes());
        if can_be_quoted {
            text.extend_from_slice(b";host=\"");
            text.extend_from_slice(host);
            text.push(b'"');
        }
    });
    for (name, ours) in
        [("X-Forwarded-Proto", sender.scheme.as_bytes()), ("X-Forwarded-Host", host)]
    {
        let theirs_stays = trusted && fields.contains(name);
        if !theirs_stays {
            fields.remove(name);
            if !ours.is_empty() {
                fields.append(name, ours);
            }
        }
    }
}

/// Bytes of an address as text: an IPv6 one has 39 at most.
const ADDRESS_MAX_BYTES: usize = 40;

/// An address as fields have it.
fn written(address: Option<IpAddr>, space: &mut [u8; ADDRESS_MAX_BYTES]) -> &[u8] {
    let Some(address) = address else { return b"unknown" };
    let mut rest = &mut space[..];
    match address {
        // Nearly every request has one, and `write!` takes a thousand instructions for it.
        IpAddr::V4(address) => {
            let mut push = |byte| {
                if let Some(place) = rest.split_off_first_mut() {
                    *place = byte;
                }
            };
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    push(b'.');
                }
                if octet >= 100 {
                    push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    push(b'0' + octet / 10 % 10);
                }
                push(b'0' + octet % 10);
            }
        }
        // There is room for every one.
        IpAddr::V6(address) => drop(write!(rest, "{address}")),
    }
    let length = ADDRESS_MAX_BYTES - rest.len();
    &space[..length]
}

/// The existing list with one more member.
fn joined(fields: &Fields, name: &str, member: &[u8]) -> Vec<u8> {
    let mut list = list(fields, name);
    list.extend_from_slice(member);
    list
}

/// The existing list, ready for one more member.
fn list(fields: &Fields, name: &str) -> Vec<u8> {
    let mut list = Vec::new();
    for value in fields.all(name) {
        list.extend_from_slice(String::from_utf8_lossy(value).as_bytes());
        list.extend_from_slice(b", ");
    }
    list
}

fn via(fields: &mut Fields, received: Version) {
    let member = via_member(received).as_bytes();
    if fields.contains("via") {
        fields.set("Via", joined(fields, "via", member));
    } else {
        fields.append("Via", member);
    }
}

/// How a response goes down to the client.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The framing that the client gets.
    pub framing: Framing,
    /// The client's connection ends with this response.
    pub close: bool,
    /// The client's version.
    pub client: Version,
    /// It is an event stream.
    pub sse: bool,
    /// Sent if the upstream gave none of its own.
    pub request_id: &'a str,
    /// The time of day, for a response that does not say it.
    pub now: fn() -> SystemTime,
}

/// Rewrites a final response's fields for the client.
pub fn to_client(head: &mut ResponseHead, delivery: Delivery<'_>, rules: &Headers) {
    // To HEAD and in 304 the length is that of the body that is not there (RFC 9110 §8.6).
    let length = match delivery.framing {
        Framing::None if head.status != 204 => framing::length(&head.fields).ok().flatten(),
        _ => None,
    };
    remove_hop_by_hop(&mut head.fields);
    via(&mut head.fields, head.version);
    if !head.fields.contains("date") {
        // RFC 9110 §6.6.1: a recipient "MUST … append a corresponding Date header field".
        head.fields.append("Date", httpdate::fmt_http_date((delivery.now)()));
    }
    if !head.fields.contains("x-request-id") {
        head.fields.append("X-Request-Id", delivery.request_id);
    }
    if delivery.sse {
        let directives = "no-transform";
        if !head.fields.has_token("cache-control", directives) {
            let list = joined(&head.fields, "cache-control", directives.as_bytes());
            head.fields.set("Cache-Control", list);
        }
        head.fields.set("X-Accel-Buffering", "no");
    }
    apply(&mut head.fields, &rules.response_remove, &rules.response_set);
    write_framing(&mut head.fields, delivery.framing);
    if let Some(length) = length {
        write_framing(&mut head.fields, Framing::Length(length));
    }
    match (delivery.client, delivery.close) {
        (Version::Http11 | Version::Http2, true) => head.fields.set("Connection", "close"),
        (Version::Http10, false) => head.fields.set("Connection", "keep-alive"),
        _ => {}
    }
}

/// Adds fields of the proxy's own to a response: each replaces what the upstream said, but `Vary`,
/// which is a list that others have made before (RFC 9110 §12.5.5).
pub fn add_own(fields: &mut Fields, own: &[(&'static str, Bytes)]) {
    for (name, value) in own {
        let member = std::str::from_utf8(value).unwrap_or_default();
        match name.eq_ignore_ascii_case("vary") {
            true if ["*", member].iter().any(|known| fields.has_token(name, known)) => {}
            true => fields.set(name, joined(fields, name, value)),
            false => fields.set(name, value),
        }
    }
}

/// Says that the connection switches to `protocol`; for requests and for 101.
pub fn switch(fields: &mut Fields, protocol: &str) {
    fields.set("Connection", "Upgrade");
    fields.set("Upgrade", protocol);
}

/// Rewrites an interim (1xx) response for the client.
pub fn interim_to_client(head: &mut ResponseHead) {
    remove_hop_by_hop(&mut head.fields);
}

fn remove_hop_by_hop(fields: &mut Fields) {
    let is_hop_by_hop = hop_by_hop(fields, &Auth::None);
    fields.retain(|field| !is_hop_by_hop(field.name));
}

/// Which fields beside these mean one connection only.
fn hop_by_hop(fields: &Fields, auth: &Auth) -> impl Fn(&[u8]) -> bool + use<> {
    let stays = |name: &[u8]| {
        let mut kept = NEVER_LISTED.iter().chain(OWN).copied().chain(auth.fields());
        name.starts_with(WEBSOCKET) || kept.any(|kept| kept.as_bytes() == name)
    };
    let listed: Vec<Vec<u8>> = fields
        .tokens("connection")
        .map(<[u8]>::to_ascii_lowercase)
        .filter(|name| !stays(name))
        .collect();
    const MARKS: u64 = marks(&HOP_BY_HOP);
    move |field| {
        let is = |name: &[u8]| field.eq_ignore_ascii_case(name);
        MARKS & mark(field) != 0 && HOP_BY_HOP.iter().any(|name| is(name.as_bytes()))
            || listed.iter().any(|name| is(name))
    }
}

/// `X_Forwarded_For` and the like, which some upstreams would read instead of ours: the twins of
/// what only we may set, of what the route sets or removes, and of what says who asks.
fn lookalike<'a>(headers: &'a Headers, auth: &'a Auth) -> impl Fn(&[u8]) -> bool + use<'a> {
    let set = headers.request_set.iter().map(|(name, _)| name);
    let ruled = set.chain(&headers.request_remove).map(String::as_str);
    move |field| {
        let is_twin = |name: &str| is_twin(field, name.as_bytes());
        // None of ours has an underscore, so what looks like one of them has.
        let of_ours = || field.contains(&b'_') && OWN.iter().chain(&HOP_BY_HOP).any(|n| is_twin(n));
        let mut others = ruled.clone().chain(auth.fields()).chain(auth.principal_header());
        // One that authentication goes by itself is nobody's twin.
        let is_read = || auth.fields().any(|name| field.eq_ignore_ascii_case(name.as_bytes()));
        (of_ours() || others.any(is_twin)) && !is_read()
    }
}

fn apply(fields: &mut Fields, remove: &[String], set: &[(String, String)]) {
    for name in remove {
        fields.remove(name);
    }
    for (name, value) in set {
        fields.set(name, value);
    }
}

fn write_framing(fields: &mut Fields, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            fields.set_with("Content-Length", |text| decimal(text, length));
        }
        Framing::Chunked => fields.set("Transfer-Encoding", "chunked"),
        Framing::None | Framing::UntilClose => {}
    }
}

#[cfg(test)]
mod tests;
