//! How a route hands requests to its upstream: timeouts, heartbeats, slow clients, `Host`.

use std::time::Duration;

use super::access::{access, cors};
use super::auth::auth;
use super::fields::headers;
use super::limits::limits;
use super::matching::prefix;
use super::retry::retry;
use super::websocket::{upgrade, websocket};
use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{
    Dialect, HostHeader, Proxy, SlowClient, Sse, Stream, Timeouts, Upstream,
};
use crate::config::read::Table;
use crate::config::units::Invalid;

/// The keys of a route that mean nothing without an upstream.
pub(super) const PROXY_KEYS: [&str; 14] = [
    "strip_prefix",
    "host_header",
    "timeouts",
    "stream",
    "dialect",
    "retry",
    "limits",
    "sse",
    "websocket",
    "upgrade",
    "headers",
    "access",
    "auth",
    "cors",
];

/// Reads what a route says about its upstream, except which it is; adds the one that decides who
/// may come in to `upstreams`.
pub(super) fn proxy(
    table: &mut Table<'_>,
    upstream: String,
    base: &Timeouts,
    upstreams: &mut Vec<Upstream>,
) -> Proxy {
    let strip_prefix = table.take("strip_prefix");
    let strip_prefix = strip_prefix.and_then(|value| {
        value.parse("a path", |text| match text {
            "" => Ok(String::new()),
            _ => prefix(text),
        })
    });
    let host_header = table.take("host_header");
    let host_header = host_header.and_then(|value| value.parse(A_HOST_HEADER, host_header_text));
    Proxy {
        upstream,
        strip_prefix: strip_prefix.map(|written| written.value).unwrap_or_default(),
        host_header: host_header.map_or(HostHeader::Preserve, |written| written.value),
        timeouts: timeouts(table.table("timeouts"), base),
        stream: stream(table.table("stream")),
        dialect: table.choice("dialect", &DIALECTS).unwrap_or(defaults::DIALECT),
        retry: retry(table.table("retry")),
        limits: limits(table.table("limits")),
        sse: sse(table.table("sse")),
        websocket: websocket(table.table("websocket")),
        upgrade: upgrade(table),
        headers: headers(table.table("headers")),
        access: access(table.table("access")),
        auth: auth(table.table("auth"), upstreams),
        cors: cors(table),
    }
}

const DIALECTS: [(&str, Dialect); 5] = [
    ("auto", Dialect::Auto),
    ("openai-chat", Dialect::OpenAiChat),
    ("openai-responses", Dialect::OpenAiResponses),
    ("anthropic", Dialect::Anthropic),
    ("plain", Dialect::Plain),
];

/// The timeouts of a file that says nothing about them.
pub(super) fn default_timeouts() -> Timeouts {
    Timeouts {
        connect: defaults::CONNECT_TIMEOUT,
        tls: defaults::TLS_TIMEOUT,
        first_byte: defaults::FIRST_BYTE_TIMEOUT,
        first_event: defaults::FIRST_EVENT_TIMEOUT,
        idle: defaults::IDLE_TIMEOUT,
        send: defaults::SEND_TIMEOUT,
        max_duration: defaults::MAX_DURATION,
    }
}

/// Reads a table of timeouts; what it does not say is as in `base`.
pub(super) fn timeouts(mut table: Table<'_>, base: &Timeouts) -> Timeouts {
    let timeouts = Timeouts {
        connect: table.duration("connect", base.connect, (DURATION_MIN, DURATION_MAX)),
        tls: table.duration("tls", base.tls, (DURATION_MIN, DURATION_MAX)),
        first_byte: table.deadline("first_byte", base.first_byte),
        first_event: table.deadline("first_event", base.first_event),
        idle: table.deadline("idle", base.idle),
        send: table.deadline("send", base.send),
        max_duration: table.deadline("max_duration", base.max_duration),
    };
    table.finish();
    timeouts
}

fn stream(mut table: Table<'_>) -> Stream {
    let choices =
        [("backpressure", SlowClient::Backpressure), ("disconnect", SlowClient::Disconnect)];
    let rate = table.size(
        "min_request_rate",
        defaults::MIN_REQUEST_RATE,
        (0, defaults::MIN_REQUEST_RATE_MAX),
    );
    let stream = Stream {
        slow_client: table.choice("slow_client", &choices).unwrap_or(defaults::SLOW_CLIENT),
        slow_client_timeout: table.deadline("slow_client_timeout", defaults::SLOW_CLIENT_TIMEOUT),
        min_request_rate: Some(rate as u64).filter(|rate| *rate > 0),
    };
    table.finish();
    stream
}

fn sse(mut table: Table<'_>) -> Sse {
    let heartbeat = table.deadline("heartbeat", defaults::HEARTBEAT);
    let text = table.take("heartbeat_text");
    let text = text.and_then(|value| value.parse("a comment such as \": ping\"", heartbeat_text));
    let commit_after = table.deadline("commit_after", defaults::COMMIT_AFTER);
    let error_event = table.boolean("error_event", defaults::ERROR_EVENT);
    let retry = table.duration("retry", defaults::SSE_RETRY, (Duration::ZERO, DURATION_MAX));
    table.finish();
    let heartbeat_text =
        text.map_or_else(|| defaults::HEARTBEAT_TEXT.to_owned(), |written| written.value);
    Sse { heartbeat, heartbeat_text, commit_after, error_event, retry }
}

/// HTML, 9.2.5: `comment = colon *any-char end-of-line`. A line end in it would begin a field.
fn heartbeat_text(text: &str) -> Result<String, Invalid> {
    let max = defaults::HEARTBEAT_TEXT_MAX_BYTES;
    if !text.starts_with(':') {
        return Err(Invalid::new("a comment that begins with \":\"").suggest(format!(": {text}")));
    }
    if text.contains(['\r', '\n', '\0']) {
        return Err(Invalid::new("a comment without CR, LF and NUL"));
    }
    if text.len() > max {
        return Err(Invalid::new(format!("a comment of at most {max} bytes")));
    }
    Ok(text.to_owned())
}

const A_HOST_HEADER: &str = "\"preserve\", \"upstream\" or a host such as \"models.internal\"";

/// RFC 9110, 7.2: `Host = uri-host [ ":" port ]`; only what would break the head is refused.
fn host_header_text(text: &str) -> Result<HostHeader, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte);
    match text {
        "preserve" => Ok(HostHeader::Preserve),
        "upstream" => Ok(HostHeader::Upstream),
        "" => Err(Invalid::new(A_HOST_HEADER)),
        _ if text.bytes().all(allowed) => Ok(HostHeader::Literal(text.to_owned())),
        _ => Err(Invalid::new(A_HOST_HEADER)),
    }
}
