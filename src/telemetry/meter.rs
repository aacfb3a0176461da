//! What is measured of one exchange. Every count that goes up here goes down when it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handles::{KindMetrics, RouteMetrics};
use crate::clock;
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::live::stream::{End, Stream};
use crate::ws::head::Opcode;

/// Measures one exchange. Its sums are those that the table of streams shows.
pub struct Meter {
    route: Arc<RouteMetrics>,
    stream: Arc<Stream>,
    has_first_byte: bool,
    sent_at: Option<Instant>,
    first_read_at: Option<Instant>,
    last_event_at: Option<Instant>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No response yet, so the kind is not known.
    Waiting,
    Open(Kind),
    Closed,
}

impl Meter {
    /// For an exchange whose request was read then.
    pub fn new(route: Arc<RouteMetrics>, began: Instant) -> Self {
        Self {
            route,
            stream: Arc::new(Stream::new(began)),
            has_first_byte: false,
            sent_at: None,
            first_read_at: None,
            last_event_at: None,
            state: State::Waiting,
        }
    }

    /// When the request was read.
    pub fn began(&self) -> Instant {
        self.stream.began()
    }

    /// What others see of it.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The request goes to that endpoint, on a connection that was used before or not.
    pub fn reached(&self, endpoint: Arc<str>, reused: bool, now: Instant) {
        self.stream.reached(endpoint, reused, now);
    }

    /// The upstream's final head was read.
    pub fn answered(&self, now: Instant) {
        self.stream.answered(now);
    }

    /// The response has begun.
    pub fn open(&mut self, kind: Kind) {
        let handles = self.route.kind(kind);
        handles.opened.inc();
        handles.active.inc();
        // What moved before it was known what it is.
        handles.bytes_in.inc_by(self.stream.bytes_in());
        handles.bytes_out.inc_by(self.stream.bytes_out());
        self.stream.opened(kind);
        self.state = State::Open(kind);
    }

    /// Request body bytes went up.
    pub fn request_bytes(&mut self, count: u64) {
        self.stream.went_up(count);
        if let Some(handles) = self.handles() {
            handles.bytes_in.inc_by(count);
        }
    }

    /// The whole request was written to the upstream.
    pub fn request_sent(&mut self, now: Instant) {
        self.sent_at = Some(now);
        self.stream.sent(now);
    }

    /// Body bytes came from the upstream.
    pub fn body_read(&mut self, bytes: u64, events: u32, now: Instant) {
        self.stream.came_down(bytes, u64::from(events), now);
        let State::Open(kind) = self.state else { return };
        let handles = self.route.kind(kind);
        handles.bytes_out.inc_by(bytes);
        if self.first_read_at.is_none() {
            self.first_read_at = Some(now);
            if let Some(sent_at) = self.sent_at {
                handles.upstream_first_byte.observe(seconds(now, sent_at));
            }
        }
        if events > 0 {
            handles.events.inc_by(u64::from(events));
            if let Some(last) = self.last_event_at {
                handles.inter_event.observe(seconds(now, last));
            }
            // Those that came in the same read came at the same time.
            for _ in 1..events {
                handles.inter_event.observe(0.0);
            }
            self.last_event_at = Some(now);
        }
    }

    /// Bytes that were read at `read_at` have been written to the client, which had let them wait
    /// if it `stalled`: that wait is not the proxy's.
    pub fn written(&mut self, read_at: Instant, stalled: bool, now: Instant) {
        let State::Open(kind) = self.state else { return };
        let handles = self.route.kind(kind);
        if !stalled {
            handles.forward_delay.observe(seconds(now, read_at));
        }
        if !self.has_first_byte && self.first_read_at.is_some() {
            self.has_first_byte = true;
            self.stream.first_byte(now);
            handles.time_to_first_byte.observe(seconds(now, self.began()));
        }
    }

    /// The client took all that there was, or some of it.
    pub fn client_took(&self, all: bool, now: Instant) {
        self.stream.client_took(all, now);
    }

    /// The client takes nothing more.
    pub fn client_stalls(&self, now: Instant) {
        self.stream.client_stalls(now);
    }

    /// A write waited that long for the client.
    pub fn stalled(&self, wait: Duration) {
        if let Some(handles) = self.handles() {
            handles.client_stall.observe(wait.as_secs_f64());
        }
    }

    /// A heartbeat of that many bytes was written.
    pub fn heartbeat(&mut self, bytes: u64) {
        self.stream.heartbeat();
        if let Some(handles) = self.handles() {
            handles.heartbeats.inc();
        }
        self.own_bytes(bytes);
    }

    /// Bytes of our own went into the body.
    pub fn own_bytes(&mut self, bytes: u64) {
        self.stream.own_bytes(bytes);
        if let Some(handles) = self.handles() {
            handles.bytes_out.inc_by(bytes);
        }
    }

    /// A WebSocket frame began, from the client or from the upstream; the last one of a message
    /// counts as an event.
    pub fn frame(&mut self, from_client: bool, opcode: Opcode, fin: bool, now: Instant) {
        self.route.frames(from_client, opcode).inc();
        let State::Open(kind) = self.state else { return };
        let handles = self.route.kind(kind);
        if opcode.is_control() || !fin {
            return;
        }
        if from_client {
            if let Some(events) = &handles.events_in {
                events.inc();
            }
            self.stream.event(true);
            return;
        }
        handles.events.inc();
        self.stream.event(false);
        if let Some(last) = self.last_event_at {
            handles.inter_event.observe(seconds(now, last));
        }
        self.last_event_at = Some(now);
    }

    /// A side did not answer a ping of ours.
    pub fn missed_pong(&self, by_client: bool) {
        self.route.missed_pongs(by_client).inc();
    }

    /// The upstream connection was closed because the client left at `gone_at`.
    pub fn cancelled(&self, gone_at: Instant, now: Instant) {
        self.route.cancelled(seconds(now, gone_at));
    }

    /// The exchange is over; `status` is what the client got, or 499 if it left before that.
    /// Gives its kind and how long it took.
    pub fn close(mut self, reason: CloseReason, status: u16, now: Instant) -> (Kind, Duration) {
        self.end(reason, status, now)
    }

    fn end(&mut self, reason: CloseReason, status: u16, now: Instant) -> (Kind, Duration) {
        if self.state == State::Waiting {
            self.open(Kind::Http);
        }
        let duration = now.saturating_duration_since(self.began());
        let State::Open(kind) = self.state else { return (Kind::Http, duration) };
        self.state = State::Closed;
        self.stream.ends(End { reason, status, duration });
        let totals = self.stream.totals();
        let handles = self.route.kind(kind);
        handles.active.dec();
        handles.closed(reason).inc();
        handles.duration.observe(duration.as_secs_f64());
        if let Some(histogram) = &handles.request_duration {
            histogram.observe(duration.as_secs_f64());
        }
        handles.events_per_stream.observe(totals.events as f64);
        handles.size_in.observe(totals.bytes_in as f64);
        handles.size_out.observe(totals.bytes_out as f64);
        self.route.finished(kind, status);
        (kind, duration)
    }

    fn handles(&self) -> Option<&KindMetrics> {
        match self.state {
            State::Open(kind) => Some(self.route.kind(kind)),
            State::Waiting | State::Closed => None,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.state != State::Closed {
            // The task was dropped in the middle: by a panic, or by the runtime's end.
            self.end(CloseReason::ProxyError, 500, clock::now());
        }
    }
}

fn seconds(later: Instant, earlier: Instant) -> f64 {
    later.saturating_duration_since(earlier).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn opened_equals_closed_plus_active_however_it_ends() {
        let metrics = Metrics::new();
        let route = metrics.route("chat", Some("models"));
        let now = clock::now();
        let mut open = Meter::new(Arc::clone(&route), now);
        open.open(Kind::Sse);
        open.body_read(9, 2, now);
        let page = metrics.render();
        let labels = r#"{kind="sse",route="chat",upstream="models"}"#;
        assert!(page.contains(&format!("longwire_streams_active{labels} 1")), "{page}");
        let out = r#"longwire_bytes_total{direction="out",kind="sse",route="chat"} 9"#;
        assert!(page.contains(out), "counters move while bytes flow");

        drop(open);
        Meter::new(Arc::clone(&route), now).close(CloseReason::UpstreamReset, 502, now);
        let page = metrics.render();
        assert!(page.contains(&format!("longwire_streams_active{labels} 0")));
        for line in [
            r#"closed_total{kind="sse",reason="proxy_error",route="chat",upstream="models"} 1"#,
            r#"closed_total{kind="http",reason="upstream_reset",route="chat",upstream="models"} 1"#,
            r#"requests_total{code="502",kind="http",route="chat"} 1"#,
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }
}
