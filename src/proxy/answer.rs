//! How a response goes to the client, decided from its head. Pure.

use crate::config::model::{self, Sse};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{ResponseHead, Version};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::relay::download::{Download, Shape};
use crate::sse::dialect::{Dialect, Dialects};

/// What the client can take.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Its version.
    pub version: Version,
    /// The method was HEAD.
    pub to_head: bool,
    /// Its connection can be used again.
    pub keep_alive: bool,
}

/// How a final response goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What it carries.
    pub kind: Kind,
    /// As the upstream frames it.
    pub from: Framing,
    /// As the client gets it.
    pub to: Framing,
    /// An event stream in plain text.
    pub scan: bool,
    /// The client's connection ends with it.
    pub close: bool,
    /// The upstream's connection can be used again.
    pub upstream_keep_alive: bool,
}

impl Answer {
    /// Decides; an error is a response that cannot be understood.
    pub fn new(head: &ResponseHead, asker: Asker) -> Result<Self, CloseReason> {
        // We ask for no upgrade, so nobody may switch protocols on us.
        if head.status == 101 {
            return Err(CloseReason::ProtocolError);
        }
        let from =
            framing::of_response(head, asker.to_head).map_err(|_| CloseReason::ProtocolError)?;
        let to = match (from, asker.version) {
            (Framing::None | Framing::Length(_), _) => from,
            (Framing::Chunked | Framing::UntilClose, Version::Http11 | Version::Http2) => {
                Framing::Chunked
            }
            // RFC 9112 §7: chunks must not be sent to an HTTP/1.0 client.
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        };
        let kind = Kind::of_response(&head.fields, from);
        let plain = head.fields.tokens("content-encoding").all(|coding| coding == b"identity");
        let says = |token| head.fields.has_token("connection", token);
        Ok(Self {
            kind,
            from,
            to,
            scan: kind == Kind::Sse && plain,
            close: !asker.keep_alive || to == Framing::UntilClose,
            upstream_keep_alive: match head.version {
                // RFC 9112 §6.3: with both lengths, it "ought to be handled as an error".
                _ if from == Framing::Chunked && head.fields.contains("content-length") => false,
                Version::Http11 | Version::Http2 => !says("close"),
                Version::Http10 => says("keep-alive") && !says("close"),
            },
        })
    }

    /// The machine that passes on its body, which may speak one of `dialects`.
    pub fn body(&self, sse: &Sse, dialects: Dialects) -> Download {
        Download::new(Shape {
            from: self.from,
            to: self.to,
            scan: self.scan.then_some(dialects),
            heartbeat: sse.heartbeat.map(|_| sse.heartbeat_text.as_str()),
        })
    }
}

/// What a stream at `path` may speak, by the route's setting.
pub fn dialects(setting: model::Dialect, path: &str) -> Dialects {
    let setting = match setting {
        model::Dialect::Auto => None,
        model::Dialect::OpenAiChat => Some(Dialect::OpenAiChat),
        model::Dialect::OpenAiResponses => Some(Dialect::OpenAiResponses),
        model::Dialect::Anthropic => Some(Dialect::Anthropic),
        model::Dialect::Plain => Some(Dialect::Plain),
    };
    Dialects { setting, hint: Dialect::of_path(path) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http1::head::parse_response;

    fn decide(text: &str, version: Version) -> Result<Answer, CloseReason> {
        let head = parse_response(format!("{text}\r\n\r\n").as_bytes()).unwrap().unwrap().0;
        Answer::new(&head, Asker { version, to_head: false, keep_alive: true })
    }

    #[test]
    fn what_each_client_gets() {
        const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream";
        let new = decide(&format!("{SSE}\r\nTransfer-Encoding: chunked"), Version::Http11).unwrap();
        assert_eq!((new.to, new.close, new.scan), (Framing::Chunked, false, true));
        let old = decide(&format!("{SSE}\r\nTransfer-Encoding: chunked"), Version::Http10).unwrap();
        assert_eq!((old.to, old.close), (Framing::UntilClose, true));
        assert!(old.upstream_keep_alive, "the client's version is not the upstream's business");
        let closing = decide(&format!("{SSE}\r\nConnection: close"), Version::Http11).unwrap();
        assert_eq!((closing.from, closing.to), (Framing::UntilClose, Framing::Chunked));
        assert!(!closing.close && !closing.upstream_keep_alive);
        let zipped = decide(&format!("{SSE}\r\nContent-Encoding: gzip"), Version::Http11).unwrap();
        assert!(!zipped.scan, "compressed bytes are not lines");
        let sse = Sse {
            heartbeat: Some(Duration::from_secs(1)),
            heartbeat_text: ": x".into(),
            commit_after: None,
            error_event: true,
            retry: Duration::ZERO,
        };
        let body = zipped.body(&sse, dialects(model::Dialect::Auto, "/"));
        assert!(!body.has_heartbeats());
    }

    #[test]
    fn what_cannot_be_understood() {
        for text in [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket",
            "HTTP/1.1 200 OK\r\nContent-Length: x",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
        ] {
            assert_eq!(decide(text, Version::Http11), Err(CloseReason::ProtocolError), "{text}");
        }
    }
}
