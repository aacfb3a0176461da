//! What a route, a kind of its exchanges, an upstream and an endpoint count with: the families'
//! children that are theirs, looked up once.

use std::sync::{Arc, OnceLock};

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

use super::outcome::{ConnectResult, PoolClose};
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::ws::head::Opcode;

/// Handles for a route.
pub struct RouteMetrics {
    /// By kind; only the first without an upstream.
    pub(super) kinds: Vec<KindMetrics>,
    pub(super) requests: IntCounterVec,
    pub(super) route: Arc<str>,
    pub(super) cancelled: Option<(IntCounter, Histogram)>,
    pub(super) frames: [[IntCounter; 6]; 2],
    pub(super) missed_pongs: [IntCounter; 2],
}

impl RouteMetrics {
    /// The handles for a kind.
    pub fn kind(&self, kind: Kind) -> &KindMetrics {
        &self.kinds[kind as usize]
    }

    /// An upstream request was ended because the client had left; that took `seconds`.
    pub fn cancelled(&self, seconds: f64) {
        if let Some((count, duration)) = &self.cancelled {
            count.inc();
            duration.observe(seconds);
        }
    }

    /// The counter of WebSocket frames from the client, or from the upstream.
    pub fn frames(&self, from_client: bool, opcode: Opcode) -> &IntCounter {
        &self.frames[usize::from(!from_client)][opcode as usize]
    }

    /// The counter of pings that the client, or the upstream, did not answer.
    pub fn missed_pongs(&self, by_client: bool) -> &IntCounter {
        &self.missed_pongs[usize::from(!by_client)]
    }

    /// Counts a finished request.
    pub fn finished(&self, kind: Kind, status: u16) {
        // Codes are too many to be listed beforehand, and most requests have one of them.
        let counter = || {
            let code = status.to_string();
            self.requests.with_label_values(&[&*self.route, kind.label(), &*code])
        };
        match status {
            200 => self.kind(kind).ok.get_or_init(counter).inc(),
            _ => counter().inc(),
        }
    }
}

/// Handles for a route and a kind. Each is named as its family.
#[expect(missing_docs, reason = "the families' help texts say it")]
pub struct KindMetrics {
    pub request_duration: Option<Histogram>,
    /// Requests that were answered with 200, once there are any.
    pub(super) ok: OnceLock<IntCounter>,
    pub active: IntGauge,
    pub opened: IntCounter,
    pub(super) closed: Vec<IntCounter>,
    pub time_to_first_byte: Histogram,
    pub upstream_first_byte: Histogram,
    pub inter_event: Histogram,
    pub forward_delay: Histogram,
    pub client_stall: Histogram,
    pub duration: Histogram,
    pub events_per_stream: Histogram,
    pub size_in: Histogram,
    pub size_out: Histogram,
    pub bytes_in: IntCounter,
    pub bytes_out: IntCounter,
    pub events: IntCounter,
    pub events_in: Option<IntCounter>,
    pub heartbeats: IntCounter,
}

impl KindMetrics {
    /// The counter of one close reason.
    pub fn closed(&self, reason: CloseReason) -> &IntCounter {
        &self.closed[reason as usize]
    }
}

/// Handles for an upstream. Each is named as its family.
#[expect(missing_docs, reason = "the families' help texts say it")]
pub struct UpstreamMetrics {
    /// By cause, in the order in which they were given.
    pub retries: Vec<IntCounter>,
    pub queue_length: IntGauge,
    pub queue_wait: Histogram,
}

/// Handles for an endpoint. Each is named as its family or label.
#[expect(missing_docs, reason = "the families' help texts say it")]
pub struct EndpointMetrics {
    pub idle: IntGauge,
    pub active: IntGauge,
    pub on_new: IntCounter,
    pub on_reused: IntCounter,
    pub(super) connects: [IntCounter; 6],
    pub connect_duration: Histogram,
    pub tls_duration: Histogram,
    pub(super) pool_closed: [IntCounter; 5],
    pub learned_idle: Gauge,
    pub(super) checks: [IntCounter; 2],
    pub ejections: IntCounter,
    pub streams: IntGauge,
}

impl EndpointMetrics {
    /// The counter of one result of connecting.
    pub fn connects(&self, result: ConnectResult) -> &IntCounter {
        &self.connects[result as usize]
    }

    /// The counter of health checks that went well, or did not.
    pub fn checked(&self, good: bool) -> &IntCounter {
        &self.checks[usize::from(!good)]
    }

    /// The counter of one way for an idle connection to end.
    pub fn pool_closed(&self, reason: PoolClose) -> &IntCounter {
        &self.pool_closed[reason as usize]
    }
}
