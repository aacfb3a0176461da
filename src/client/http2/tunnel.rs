//! WebSockets over HTTP/2 (RFC 8441): the handshake that the upstream sees, and its answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio_rustls::rustls::crypto::ring;

use crate::http1::fields::Fields;
use crate::ws::handshake;

/// A WebSocket that is asked for. RFC 8441 §5 has no key; the upstream, to which the request goes
/// as HTTP/1.1, needs one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tunnel {
    key: String,
}

impl Tunnel {
    /// With a key that nobody had before; `None` if the system has no randomness to give.
    pub(super) fn new() -> Option<Self> {
        let mut nonce = [0; 16];
        ring::default_provider().secure_random.fill(&mut nonce).ok()?;
        Some(Self { key: BASE64_STANDARD.encode(nonce) })
    }

    /// With this key.
    #[cfg(test)]
    pub(super) fn with_key(key: &str) -> Self {
        Self { key: key.to_owned() }
    }

    /// The value of `Sec-WebSocket-Key`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether a 101 answers this handshake: RFC 6455 §4.1 has a client fail the connection
    /// otherwise, and towards the upstream that is us.
    pub(super) fn is_answered_by(&self, fields: &Fields) -> bool {
        let mut answers = fields.all("sec-websocket-accept");
        let expected = handshake::accept(self.key.as_bytes());
        let right = answers.next().is_some_and(|answer| answer == expected.as_bytes());
        right && answers.next().is_none() && fields.has_token("upgrade", "websocket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_its_own_key_counts() {
        // RFC 6455 §1.3.
        let tunnel = Tunnel::with_key("dGhlIHNhbXBsZSBub25jZQ==");
        let answer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        for (fields, expected) in [
            (&[("Upgrade", "WebSocket"), ("Sec-WebSocket-Accept", answer)][..], true),
            (&[("Sec-WebSocket-Accept", answer)][..], false),
            (&[("Upgrade", "websocket")][..], false),
            (&[("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "x")][..], false),
        ] {
            let mut list = Fields::default();
            for (name, value) in fields {
                list.append(*name, *value);
            }
            assert_eq!(tunnel.is_answered_by(&list), expected, "{fields:?}");
        }
        let (one, other) = (Tunnel::new().unwrap(), Tunnel::new().unwrap());
        assert_ne!(one, other);
        let key = one.key().as_bytes();
        assert_eq!(handshake::check(Some(b"13"), &[key]), Ok(()), "16 bytes in base64");
    }
}
