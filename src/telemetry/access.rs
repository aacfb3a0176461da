//! The access log: a line when a stream opens, a line when an exchange ends.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::model::AccessLog;
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::live::stream::Totals;
use crate::trace::Trace;

/// What both lines of an exchange have in common.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The request id, the same in both lines and in `X-Request-Id`.
    pub id: &'a str,
    /// Its place in a trace.
    pub trace: Option<Trace>,
    /// It has lines even if it goes well.
    pub is_sampled: bool,
    /// Name of the route.
    pub route: &'a str,
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// Whoever asks, by the name that the configuration has for them.
    pub principal: Option<&'a str>,
    /// The client's version of HTTP.
    pub version: &'static str,
    /// The request's method.
    pub method: &'a str,
    /// The path without its query, which may hold secrets.
    pub path: &'a str,
    /// The status that the client got.
    pub status: u16,
    /// What the exchange carried.
    pub kind: Kind,
    /// Name of the upstream, if there was one.
    pub upstream: &'a str,
    /// Name of the endpoint, if one was reached.
    pub endpoint: &'a str,
    /// `none`, `new`, or `reused` if it had served before.
    pub connection: &'static str,
    /// How often it was tried to send it to an endpoint.
    pub tries: u32,
    /// A WebSocket's close code.
    pub close_code: Option<u16>,
    /// Who sent the first close frame.
    pub closed_by: Option<&'static str>,
}

/// The target of both lines.
pub(super) const TARGET: &str = "access";

/// The first status that is a failure (RFC 9110 §15): the client's or the server's.
const FAILURE: u16 = 400;

impl AccessLog {
    /// Writes the line for a stream that has begun. If it is not in the sample it has none, even if
    /// it is going to fail: nobody can know.
    pub fn opened(&self, record: Record<'_>) {
        let is_wanted = self.enabled && self.stream_start && record.is_sampled;
        if !is_wanted || record.kind == Kind::Http {
            return;
        }
        tracing::info!(
            target: TARGET,
            id = record.id,
            trace_id = record.trace.map(|trace| display(trace.id)),
            span_id = record.trace.map(|trace| display(trace.span)),
            route = record.route,
            kind = record.kind.label(),
            version = record.version,
            method = record.method,
            path = record.path,
            status = record.status,
            client = record.client.map(display),
            principal = record.principal,
            upstream = record.upstream,
            endpoint = record.endpoint,
            connection = record.connection,
            "open"
        );
    }

    /// Writes the line for an exchange that has ended, if it is in the sample or has failed.
    pub fn ended(
        &self,
        record: Record<'_>,
        reason: CloseReason,
        totals: Totals,
        duration: Duration,
    ) {
        let failed = reason.row().is_error || record.status >= FAILURE;
        if !self.enabled || !(record.is_sampled || failed) {
            return;
        }
        tracing::info!(
            target: TARGET,
            id = record.id,
            trace_id = record.trace.map(|trace| display(trace.id)),
            span_id = record.trace.map(|trace| display(trace.span)),
            route = record.route,
            kind = record.kind.label(),
            version = record.version,
            method = record.method,
            path = record.path,
            status = record.status,
            client = record.client.map(display),
            principal = record.principal,
            upstream = record.upstream,
            endpoint = record.endpoint,
            connection = record.connection,
            attempts = record.tries,
            reason = reason.row().label,
            error = reason.row().is_error,
            close_code = record.close_code,
            closed_by = record.closed_by,
            first_byte_seconds = totals.first_byte.map(rounded),
            events = totals.events,
            heartbeats = totals.heartbeats,
            bytes_in = totals.bytes_in,
            bytes_out = totals.bytes_out,
            duration_seconds = rounded(duration),
            "end"
        );
    }
}

/// Seconds with microseconds; more digits are noise.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;
