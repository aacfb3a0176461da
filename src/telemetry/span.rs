//! What tracing systems are told of an exchange: one span, by OpenTelemetry's semantic conventions
//! for HTTP servers, version 1.37. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::access::Record;
use crate::live::stream::{End, Look};
use crate::trace::Trace;

/// What a span says of a request besides what the log does; kept only where there is a span.
#[derive(Debug, Default)]
pub struct Details {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and port that were asked for.
    pub server: Option<(String, Option<u16>)>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Whoever asks, as far as `trusted_proxies` says who is to be believed.
    pub client: Option<IpAddr>,
    /// The path pattern by which the route was found.
    pub pattern: Option<String>,
}

/// A try that came to nothing, and after which there was another.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Request read to failure.
    pub at: Duration,
    /// Name of the endpoint.
    pub endpoint: Arc<str>,
    /// Why it was tried again, as in `longwire_upstream_retries_total`.
    pub cause: &'static str,
}

/// One exchange that has ended.
#[derive(Debug)]
pub struct Span {
    /// Its place.
    pub trace: Trace,
    /// What was asked, with few different values.
    pub name: String,
    /// When the request was read.
    pub started: SystemTime,
    /// Request read to end.
    pub duration: Duration,
    /// All that is known of it.
    pub attributes: Vec<Attribute>,
    /// What happened, in the order of time.
    pub events: Vec<Event>,
    /// It failed; the text says how, if the status does not.
    pub error: Option<&'static str>,
}

/// What happened at a time.
#[derive(Debug, PartialEq)]
pub struct Event {
    /// Request read to then.
    pub at: Duration,
    /// What.
    pub name: &'static str,
    /// More about it.
    pub attributes: Vec<Attribute>,
}

/// A name and its value.
pub type Attribute = (&'static str, Value);

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
}

/// The methods that go into names as they are: "any other method" might be any text.
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The first status that is a server's failure (RFC 9110 §15.6): a client's is none of a server.
const SERVER_ERROR: u16 = 500;

impl Span {
    /// Of an exchange that began at `started` and has ended, as `end` and `look` say. `attempts`
    /// are those before the last one. None without a place in a trace.
    pub fn of(
        record: &Record<'_>,
        details: &Details,
        started: SystemTime,
        (look, end): (Look, End),
        attempts: &[Attempt],
    ) -> Option<Self> {
        let row = end.reason.row();
        let failed = end.status >= SERVER_ERROR;
        let known = METHODS.contains(&record.method);
        let mut all = Attributes(Vec::with_capacity(32));
        all.text("http.request.method", if known { record.method } else { "_OTHER" });
        all.maybe("http.request.method_original", (!known).then_some(record.method));
        all.maybe("http.route", details.pattern.as_deref());
        all.integer("http.response.status_code", end.status);
        match (row.is_error, failed) {
            (true, _) => all.text("error.type", row.label),
            (false, true) => all.text("error.type", &end.status.to_string()),
            (false, false) => {}
        }
        all.text("url.scheme", details.scheme);
        all.maybe("url.path", Some(record.path).filter(|path| !path.is_empty()));
        if let Some((host, port)) = &details.server {
            all.text("server.address", host);
            port.iter().for_each(|port| all.integer("server.port", *port));
        }
        all.maybe("client.address", details.client.map(|client| client.to_string()).as_deref());
        if let Some(peer) = record.client {
            all.text("network.peer.address", &peer.ip().to_string());
            all.integer("network.peer.port", peer.port());
        }
        let version = record.version;
        all.text("network.protocol.version", version.strip_suffix(".0").unwrap_or(version));
        all.maybe("user_agent.original", details.user_agent.as_deref());
        all.count("http.request.body.size", look.bytes_in);
        all.count("http.response.body.size", look.bytes_out);
        own(&mut all, record, look, end);
        let name = if known { record.method } else { "HTTP" };
        let name = match &details.pattern {
            Some(pattern) => format!("{name} {pattern}"),
            None => name.to_owned(),
        };
        Some(Self {
            trace: record.trace?,
            name,
            started,
            duration: end.duration,
            attributes: all.0,
            events: events(look, attempts),
            error: (row.is_error || failed).then_some(if row.is_error { row.meaning } else { "" }),
        })
    }
}

/// What nobody else has: the words of the log.
fn own(all: &mut Attributes, record: &Record<'_>, look: Look, end: End) {
    let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
    all.text("longwire.request_id", record.id);
    all.maybe("longwire.route", some(record.route));
    all.text("longwire.kind", record.kind.label());
    all.text("longwire.close_reason", end.reason.row().label);
    all.maybe("longwire.upstream", some(record.upstream));
    all.maybe("longwire.endpoint", some(record.endpoint));
    all.text("longwire.connection", record.connection);
    all.count("longwire.attempts", record.tries.into());
    all.count("longwire.events", look.events_out);
    all.count("longwire.heartbeats", look.heartbeats);
    if let Some(first_byte) = look.first_byte {
        all.0.push(("longwire.first_byte_seconds", Value::Number(first_byte.as_secs_f64())));
    }
    all.maybe("longwire.principal", record.principal);
    record.close_code.iter().for_each(|code| all.integer("longwire.close_code", *code));
    all.maybe("longwire.closed_by", record.closed_by);
}

fn events(look: Look, attempts: &[Attempt]) -> Vec<Event> {
    let tries = attempts.iter().map(|Attempt { at, endpoint, cause }| {
        let attributes = vec![
            ("longwire.endpoint", Value::Text(endpoint.to_string())),
            ("longwire.cause", Value::Text((*cause).to_owned())),
        ];
        Event { at: *at, name: "attempt_failed", attributes }
    });
    let moments = [
        ("connected", look.connected),
        ("request_sent", look.sent),
        ("response_head", look.head),
        ("first_byte", look.first_byte),
    ];
    let moments = moments
        .into_iter()
        .filter_map(|(name, at)| Some(Event { at: at?, name, attributes: Vec::new() }));
    let mut events: Vec<_> = tries.chain(moments).collect();
    events.sort_by_key(|event| event.at);
    events
}

/// Attributes as they come together.
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn text(&mut self, name: &'static str, text: &str) {
        self.0.push((name, Value::Text(text.to_owned())));
    }

    fn maybe(&mut self, name: &'static str, text: Option<&str>) {
        text.into_iter().for_each(|text| self.text(name, text));
    }

    fn integer(&mut self, name: &'static str, number: u16) {
        self.0.push((name, Value::Integer(number.into())));
    }

    fn count(&mut self, name: &'static str, count: u64) {
        self.0.push((name, Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))));
    }
}

#[cfg(test)]
mod tests;
