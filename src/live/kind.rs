//! What an exchange carries, known from the response head.

use crate::http1::fields::Fields;
use crate::http1::framing::Framing;

/// The kinds of exchange. They never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A body with a length, or none: over as soon as it is delivered.
    Http,
    /// A body without a length: NDJSON, gRPC-web, anything that is written as it is made.
    Stream,
    /// `text/event-stream`.
    Sse,
    /// A WebSocket, after its handshake.
    WebSocket,
}

impl Kind {
    /// All kinds; a kind's place is its index.
    pub const ALL: [Self; 4] = [Self::Http, Self::Stream, Self::Sse, Self::WebSocket];

    /// The name in the log and in the `kind` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Stream => "stream",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }

    /// The kind of a final response.
    pub fn of_response(fields: &Fields, framing: Framing) -> Self {
        let media_type = |value: &[u8]| {
            let essence = value.split(|&byte| byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
        };
        match framing {
            Framing::None => Self::Http,
            _ if fields.get("content-type").is_some_and(media_type) => Self::Sse,
            Framing::Length(_) => Self::Http,
            Framing::Chunked | Framing::UntilClose => Self::Stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (content_type, framing, expected) in [
            ("text/event-stream", Framing::Chunked, Kind::Sse),
            ("Text/Event-Stream ; charset=utf-8", Framing::UntilClose, Kind::Sse),
            ("text/event-stream", Framing::Length(9), Kind::Sse),
            ("text/event-stream", Framing::None, Kind::Http),
            ("text/event-streams", Framing::Chunked, Kind::Stream),
            ("application/json", Framing::Length(9), Kind::Http),
            ("application/x-ndjson", Framing::Chunked, Kind::Stream),
        ] {
            let mut fields = Fields::default();
            fields.append("Content-Type", content_type);
            assert_eq!(Kind::of_response(&fields, framing), expected, "{content_type} {framing:?}");
        }
    }
}
