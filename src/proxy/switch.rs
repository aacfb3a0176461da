//! Switching protocols (RFC 9110 §7.8): who may, to what, and what is started then.

use std::time::Instant;

use super::admit::Admitted;
use super::reply::{Denial, OwnField};
use crate::clock;
use crate::config::model::{Origin, Proxy};
use crate::headers;
use crate::http1::encode;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::relay::websocket::WebSocket;
use crate::ws::handshake::{self, HandshakeError};
use crate::ws::tracker::{Rules, Tracker};

/// The one protocol that is understood.
const WEBSOCKET: &str = "websocket";

/// What a client wants to switch to, and may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The protocol, as the upstream is asked for it.
    pub protocol: String,
}

impl Wanted {
    /// Whether it is the one that is understood.
    pub fn is_websocket(&self) -> bool {
        self.protocol == WEBSOCKET
    }
}

/// Whether the request asks to switch to a protocol of the route; a WebSocket handshake is checked.
pub fn wanted(
    head: &RequestHead,
    admitted: &Admitted,
    rules: &Proxy,
) -> Result<Option<Wanted>, Denial> {
    // RFC 9110 §7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0
    // request", and the sender "MUST also send an 'Upgrade' connection option".
    if head.version == Version::Http10 || !head.fields.has_token("connection", "upgrade") {
        return Ok(None);
    }
    let asked = |protocol: &&String| head.fields.has_token("upgrade", protocol);
    let Some(protocol) = rules.upgrade.iter().find(asked) else { return Ok(None) };
    if protocol == WEBSOCKET {
        check_websocket(head, admitted, &rules.websocket.origins)?;
    }
    Ok(Some(Wanted { protocol: protocol.clone() }))
}

fn check_websocket(
    head: &RequestHead,
    admitted: &Admitted,
    origins: &[Origin],
) -> Result<(), Denial> {
    if head.method != "GET" {
        // RFC 6455 §4.1: "The method of the request MUST be GET".
        return Err(Denial::bad_request("a WebSocket handshake is a GET"));
    }
    if !matches!(admitted.framing, Framing::None | Framing::Length(0)) {
        return Err(Denial::bad_request("a WebSocket handshake has no body"));
    }
    let keys: Vec<&[u8]> = head.fields.all("sec-websocket-key").collect();
    let versions: Vec<_> = head.fields.all("sec-websocket-version").collect();
    let version = if versions.len() == 1 { Some(versions[0]) } else { None };
    handshake::check(version, &keys).map_err(|error| {
        let mut denial = Denial::new(error.status(), "websocket_handshake", error.to_string());
        if error == HandshakeError::Version {
            // RFC 6455 §4.2.2 wants the version, RFC 9110 §15.5.22 the protocol.
            denial.fields = vec![
                ("Sec-WebSocket-Version", handshake::VERSION.into()),
                ("Upgrade", WEBSOCKET.into()),
            ];
        }
        denial
    })?;
    let mut fields = head.fields.all("origin");
    let origin = fields.next().map(|value| String::from_utf8_lossy(value).into_owned());
    let host = head.fields.get("host").map(|host| String::from_utf8_lossy(host).into_owned());
    let host = host.unwrap_or_default();
    let allowed: Vec<_> = origins
        .iter()
        .map(|origin| match origin {
            Origin::Same => handshake::Origin::Same,
            Origin::Any => handshake::Origin::Any,
            Origin::Exact(origin) => handshake::Origin::Exact(origin.clone()),
        })
        .collect();
    if fields.next().is_some() || !handshake::origin_allowed(origin.as_deref(), &host, &allowed) {
        // Cross-site WebSocket hijacking: browsers send cookies along, and let any page connect.
        let message = "pages of this origin may not connect (websocket.origins)";
        return Err(Denial::new(403, "origin_not_allowed", message));
    }
    Ok(())
}

/// Whether the upstream's 101 is for what was asked.
pub fn agrees(head: &ResponseHead, wanted: &Wanted) -> bool {
    head.fields.has_token("upgrade", &wanted.protocol)
        && head.fields.has_token("connection", "upgrade")
}

/// The 101 for the client, with fields of our own.
pub fn encode_greeting(mut head: ResponseHead, wanted: &Wanted, own: &[OwnField]) -> Vec<u8> {
    headers::interim_to_client(&mut head);
    headers::add_own(&mut head.fields, own);
    headers::switch(&mut head.fields, &wanted.protocol);
    let mut out = Vec::with_capacity(256);
    encode::response_head(&mut out, head.status, &head.reason, &head.fields);
    out
}

/// The machine for a WebSocket that was agreed on, for `seed` see [`WebSocket::new`].
pub fn websocket(head: &ResponseHead, rules: &Proxy, seed: u64, began: Instant) -> WebSocket {
    let extensions = head.fields.all("sec-websocket-extensions");
    let (rsv1, rsv23) = handshake::extensions(extensions);
    let max_frame = rules.websocket.max_frame;
    let tracker = |masked| Tracker::new(Rules { masked, max_frame, rsv1, rsv23 });
    WebSocket::new(tracker(true), tracker(false), seed, began, clock::now())
}
