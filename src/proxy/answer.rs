//! How a response goes to the client, decided from its head. Pure.

use crate::http1::framing::{self, Framing};
use crate::http1::head::{ResponseHead, Version};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::relay::download::Download;

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
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
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
                Version::Http11 => !says("close"),
                Version::Http10 => says("keep-alive") && !says("close"),
            },
        })
    }

    /// The machine that passes on its body; `heartbeat` is the route's line, if it has one.
    pub fn body(&self, heartbeat: Option<&str>) -> Download {
        Download::new(self.from, self.to, self.scan, heartbeat)
    }
}

#[cfg(test)]
mod tests {
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
        assert!(zipped.body(Some(": x")).push_heartbeat(&mut Vec::new()).is_none());
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
