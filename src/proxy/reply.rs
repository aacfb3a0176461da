//! Answers of our own: the one place from an error or a denial to a status, a body and a reason.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::http1::encode;
use crate::http1::fields::Fields;
use crate::live::reason::CloseReason;
use crate::relay::drive::End;
use crate::telemetry::metrics::ConnectResult;
use crate::upstream::NoSeat;

/// The status in logs and metrics when the client left before there was one (nginx's convention).
pub const CLIENT_LEFT: u16 = 499;

/// A field of an answer, made by the proxy itself.
pub type OwnField = (&'static str, Bytes);

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// 400 to 599.
    pub status: u16,
    /// A word for programs, as `error.type` in the body.
    pub kind: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Fields that must go with it.
    pub fields: Vec<OwnField>,
    /// Seconds after which it may be worth to ask again.
    pub retry_after: Option<u64>,
}

impl Denial {
    /// A denial.
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), fields: Vec::new(), retry_after: None }
    }

    /// 400, with what is wrong.
    pub fn bad_request(message: impl fmt::Display) -> Self {
        Self::new(400, "bad_request", message.to_string())
    }

    /// A request body is longer than `max` bytes.
    pub fn body_too_large(max: u64) -> Self {
        let message = format!("the request body is longer than {max} bytes");
        Self::new(413, "body_too_large", message)
    }

    /// No endpoint could be connected to; `last` is what happened at the last of them.
    pub fn unreachable(last: ConnectResult) -> Self {
        let (status, kind, message) = match last {
            ConnectResult::Timeout => {
                (504, "connect_timeout", "the upstream did not accept a connection in time")
            }
            ConnectResult::Refused => {
                (502, "connect_refused", "the upstream refused the connection")
            }
            ConnectResult::Tls => {
                (502, "tls_error", "no trusted TLS connection to the upstream could be made")
            }
            ConnectResult::Dns => (502, "dns_error", "the upstream's name could not be resolved"),
            ConnectResult::Other | ConnectResult::Ok => {
                (502, "connect_error", "the upstream could not be reached")
            }
        };
        Self::new(status, kind, message)
    }

    /// There is no place at any endpoint.
    pub fn no_seat(why: NoSeat) -> Self {
        let unavailable = |kind, message: &str, retry_after: Duration| Self {
            // RFC 9110 §10.2.3 has whole seconds.
            retry_after: Some(retry_after.as_secs_f64().ceil().max(1.0) as u64),
            ..Self::new(503, kind, message)
        };
        let soon = Duration::from_secs(1);
        match why {
            NoSeat::Unresolved => Self::unreachable(ConnectResult::Dns),
            NoSeat::NoEndpoint { retry_after } => {
                let message = "no endpoint of the upstream is up";
                unavailable("no_endpoint", message, retry_after.unwrap_or(soon))
            }
            NoSeat::QueueFull => {
                unavailable("queue_full", "the upstream and its queue are full", soon)
            }
            NoSeat::QueueTimeout => unavailable("queue_timeout", "the upstream stayed full", soon),
            NoSeat::AllTried => Self::unreachable(ConnectResult::Other),
        }
    }

    /// An exchange ended before the client got a head.
    pub fn from_end(end: End) -> Self {
        let kind = end.reason.row().label;
        let (status, message) = match end.reason {
            CloseReason::ProtocolError if end.client_to_blame => {
                (400, "the request body is malformed")
            }
            CloseReason::ProtocolError => (502, "the upstream's response is not valid HTTP"),
            CloseReason::FirstByteTimeout
            | CloseReason::FirstEventTimeout
            | CloseReason::IdleTimeout => (504, "the upstream did not answer in time"),
            CloseReason::Limit => (413, "the request body is too long"),
            CloseReason::SlowClient => (408, "the request body did not come in time"),
            CloseReason::SendTimeout => (504, "the upstream did not take the request in time"),
            CloseReason::MaxDuration => (504, "the exchange took too long"),
            CloseReason::Drained => (503, "the proxy is shutting down"),
            CloseReason::Killed => (503, "an operator ended the exchange"),
            CloseReason::ProxyError => (500, "the proxy failed"),
            _ => (502, "the upstream closed the connection without an answer"),
        };
        Self::new(status, kind, message)
    }

    /// An exchange broke off after the client had got a head.
    pub fn broken_off(end: End) -> Self {
        let denial = Self::from_end(end);
        let message = match end.reason {
            CloseReason::UpstreamReset => "the connection to the upstream was lost",
            CloseReason::Truncated => "the upstream ended the response before its end",
            CloseReason::FirstEventTimeout | CloseReason::IdleTimeout => {
                "the upstream fell silent in the middle of the response"
            }
            _ => return denial,
        };
        Self { message: message.to_owned(), ..denial }
    }

    /// The JSON body: the shape that model SDKs show to their users.
    pub fn body(&self) -> String {
        let error = json!({ "message": self.message, "type": self.kind, "code": self.status });
        format!("{}\n", json!({ "error": error }))
    }
}

/// An answer of our own, ready to be encoded.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: &'a [u8],
    /// What to say about the connection: `close`, `keep-alive` (to HTTP/1.0), or nothing.
    pub connection: Option<&'static str>,
    /// The request was HEAD: send the length, but not the body.
    pub to_head: bool,
    /// Sent as `X-Request-Id` if not empty.
    pub request_id: &'a str,
    /// Now, as RFC 9110 §5.6.7 wants it.
    pub date: &'a str,
    /// Fields that must go with it.
    pub fields: &'a [OwnField],
    /// More of them.
    pub more_fields: &'a [OwnField],
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
}

impl<'a> Reply<'a> {
    /// JSON to a request whose connection ends with it.
    pub fn new(status: u16, body: &'a str) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: body.as_bytes(),
            connection: Some("close"),
            to_head: false,
            request_id: "",
            date: "",
            fields: &[],
            more_fields: &[],
            retry_after: None,
        }
    }

    /// A denial, whose body is `body`.
    pub fn of(denial: &'a Denial, body: &'a str) -> Self {
        Self {
            fields: &denial.fields,
            retry_after: denial.retry_after,
            ..Self::new(denial.status, body)
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields::with_capacity(6);
        fields.append("Date", self.date);
        if self.has_body() {
            fields.append("Content-Type", self.content_type);
            fields.append("Content-Length", self.body.len().to_string());
        }
        if !self.request_id.is_empty() {
            fields.append("X-Request-Id", self.request_id);
        }
        for (name, value) in self.fields.iter().chain(self.more_fields) {
            fields.append(name, value);
        }
        if let Some(seconds) = self.retry_after {
            fields.append("Retry-After", seconds.to_string());
        }
        if let Some(connection) = self.connection {
            fields.append("Connection", connection);
        }
        let mut out = Vec::with_capacity(256 + self.body.len());
        encode::response_head(
            &mut out,
            self.status,
            encode::reason(self.status).as_bytes(),
            &fields,
        );
        out.extend_from_slice(self.sent_body());
        out
    }

    /// As much of the body as is sent.
    pub fn sent_body(&self) -> &'a [u8] {
        if self.has_body() && !self.to_head { self.body } else { &[] }
    }

    /// A 204 has no body and, by RFC 9110 §8.6, no length.
    fn has_body(&self) -> bool {
        self.status != 204 && self.status != 304
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_an_error_status() {
        for &reason in CloseReason::ALL {
            let denial = Denial::from_end(reason.into());
            assert!((400..=599).contains(&denial.status), "{reason:?}");
        }
    }

    #[test]
    fn a_body_is_json_whatever_the_message() {
        let denial = Denial::bad_request("a \"quote\" and a \n line");
        let body: serde_json::Value = serde_json::from_str(&denial.body()).unwrap();
        assert_eq!(body["error"]["code"], 400);
        assert_eq!(body["error"]["message"], "a \"quote\" and a \n line");
    }

    #[test]
    fn heads_have_the_length_without_the_body() {
        let reply = Reply {
            status: 200,
            content_type: "text/plain",
            body: b"ok\n",
            connection: Some("close"),
            to_head: true,
            request_id: "",
            date: "today",
            fields: &[],
            more_fields: &[],
            retry_after: None,
        };
        let text = String::from_utf8(reply.encode()).unwrap();
        assert!(
            text.contains("Content-Length: 3\r\n") && text.ends_with("close\r\n\r\n"),
            "{text}"
        );
    }
}
