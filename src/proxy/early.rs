//! A response that begins before the upstream has answered. Pure.
//!
//! It is a promise that nobody can take back: 200 and an event stream. So it is made only to
//! clients that have asked for a stream, and an upstream that does not keep it is told of as an
//! event.

use serde::Deserialize;

use super::answer::{Answer, Asker};
use super::reply::Denial;
use crate::http1::fields::Fields;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::live::kind::Kind;

/// Whether a client wants an event stream: it says so in `Accept`, or in the JSON of its request,
/// as far as that is kept.
pub fn asks_for_stream(head: &RequestHead, body: Option<&[u8]>) -> bool {
    /// What the APIs of models have in common.
    #[derive(Deserialize)]
    struct Question {
        #[serde(default)]
        stream: bool,
    }
    let is_stream = |media: &[u8]| {
        let name = media.split(|&byte| byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    };
    let question = || serde_json::from_slice::<Question>(body?).ok();
    head.fields.tokens("accept").any(is_stream) || question().is_some_and(|asked| asked.stream)
}

/// How the response goes to the client; how the upstream frames it is not known yet.
pub fn answer(asker: Asker) -> Answer {
    let to = match asker.version {
        Version::Http11 | Version::Http2 => Framing::Chunked,
        Version::Http10 => Framing::UntilClose,
    };
    Answer {
        kind: Kind::Sse,
        // Open as long as nothing has joined.
        from: Framing::UntilClose,
        to,
        scan: true,
        close: !asker.keep_alive || to == Framing::UntilClose,
        upstream_keep_alive: false,
    }
}

/// Its head, before the proxy's own fields.
pub fn head() -> ResponseHead {
    let mut fields = Fields::with_capacity(8);
    fields.append("Content-Type", "text/event-stream");
    fields.append("Cache-Control", "no-cache");
    ResponseHead { version: Version::Http11, status: 200, reason: "OK".into(), fields }
}

/// Whether the upstream keeps the promise; if not, what the client has to be told.
pub fn check(head: &ResponseHead, answer: Answer) -> Result<(), Denial> {
    if head.status != 200 {
        let status = head.status;
        let message = format!("the upstream answered with status {status}");
        // A redirect or an empty success is of no use to a client that reads a stream.
        let code = if status < 400 { 502 } else { status };
        return Err(Denial::new(code, "upstream_error", message));
    }
    if !answer.scan {
        let message = "the upstream answered with something else than a plain event stream";
        return Err(Denial::new(502, "upstream_error", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::parse_request;

    fn asks(accept: &str, body: Option<&str>) -> bool {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        let head = parse_request(text.as_bytes()).unwrap().unwrap().0;
        asks_for_stream(&head, body.map(str::as_bytes))
    }

    #[test]
    fn who_asks_for_a_stream() {
        assert!(asks("text/event-stream", None));
        assert!(asks("application/json, Text/Event-Stream;q=0.9", None));
        assert!(asks("*/*", Some(r#"{"model":"m","messages":[{"stream":false}],"stream": true}"#)));
        assert!(!asks("*/*", None));
        assert!(!asks("*/*", Some(r#"{"stream":false}"#)));
        assert!(!asks("*/*", Some(r#"{"messages":[{"stream":true}]}"#)), "not at the top");
        assert!(!asks("*/*", Some(r#"{"stream":"true"}"#)));
        assert!(!asks("*/*", Some(r#"{"stream":true"#)), "not all of it has come");
    }
}
