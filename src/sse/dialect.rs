//! What the streams of model APIs have in common with each other, and what not: how they end, and
//! how they say that something went wrong.

use serde_json::json;

/// What an event stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions, and what vLLM and others make like them: ends with
    /// `data: [DONE]`.
    OpenAiChat,
    /// OpenAI's responses: ends with `event: response.completed` or one of its siblings.
    OpenAiResponses,
    /// Anthropic's messages: ends with `event: message_stop`.
    Anthropic,
    /// Anything else: any end is an end.
    Plain,
}

/// What a stream may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    /// What the configuration says; none if the stream is to tell.
    pub setting: Option<Dialect>,
    /// What the path suggests.
    pub hint: Option<Dialect>,
}

/// What went wrong, for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The status that the client would have got before the response began.
    pub status: u16,
    /// A word for programs.
    pub kind: &'a str,
    /// A sentence for people.
    pub message: &'a str,
}

impl Dialect {
    /// What a path suggests: the last segments that the APIs use.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let ends = |segment: &str| path.ends_with(segment);
        match () {
            // Bare `/completions` is llama.cpp's own API, whose streams end without a mark.
            () if ends("/chat/completions") || ends("/v1/completions") => Some(Self::OpenAiChat),
            () if ends("/responses") => Some(Self::OpenAiResponses),
            () if ends("/messages") => Some(Self::Anthropic),
            () => None,
        }
    }

    /// The event that tells a client of a failure so that its SDK raises it.
    pub fn error_event(self, failure: &Failure<'_>) -> Vec<u8> {
        let Failure { status, kind, message } = *failure;
        let error = json!({ "message": message, "type": kind, "code": status });
        let (name, data) = match self {
            Self::Plain => (Some("error"), json!({ "error": error })),
            Self::OpenAiChat => (None, json!({ "error": error })),
            Self::OpenAiResponses => {
                // The SDKs look for `error` at the top; the documented place is inside `response`.
                let reason = json!({ "code": "server_error", "message": message });
                let response = json!({ "object": "response", "status": "failed", "error": reason });
                let event = "response.failed";
                let data = json!({ "type": event, "error": error, "response": response });
                (Some(event), data)
            }
            Self::Anthropic => {
                let error = json!({ "type": anthropic_type(status), "message": message });
                (Some("error"), json!({ "type": "error", "error": error }))
            }
        };
        let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
        // JSON on one line: a line end inside would be another field.
        format!("{name}data: {data}\n\n").into_bytes()
    }
}

/// The documented error types of Anthropic's API.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_suggest() {
        for (path, expected) in [
            ("/v1/chat/completions", Some(Dialect::OpenAiChat)),
            ("/v1/completions", Some(Dialect::OpenAiChat)),
            ("/completions", None),
            ("/openai/v1/responses/", Some(Dialect::OpenAiResponses)),
            ("/v1/messages", Some(Dialect::Anthropic)),
            ("/v1/messages/count", None),
            ("/", None),
        ] {
            assert_eq!(Dialect::of_path(path), expected, "{path}");
        }
    }

    #[test]
    fn each_dialect_has_its_error() {
        let failure =
            Failure { status: 503, kind: "upstream_error", message: "a \"quote\"\nand a line" };
        let text = |dialect: Dialect| String::from_utf8(dialect.error_event(&failure)).unwrap();
        for (dialect, start, word) in [
            (Dialect::Plain, "event: error\ndata: {\"error\":{", "\"code\":503"),
            (Dialect::OpenAiChat, "data: {\"error\":{", "\"type\":\"upstream_error\""),
            (Dialect::OpenAiResponses, "event: response.failed\ndata: {\"error\":{", "\"failed\""),
            (Dialect::Anthropic, "event: error\ndata: {\"error\":{", "\"overloaded_error\""),
        ] {
            let text = text(dialect);
            assert!(text.starts_with(start) && text.contains(word), "{text}");
            assert!(text.ends_with("}\n\n"), "{text}");
            let lines = text.lines().filter(|line| !line.is_empty()).count();
            assert_eq!(lines, text.matches("event: ").count() + 1, "one line of data: {text}");
        }
    }
}
