//! Counts of client connections, for one listener.

use prometheus::{IntCounter, IntGauge};

use super::metrics::Metrics;

/// Why a connection was closed before anything was served on it, or because of what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `max_connections` was reached.
    MaxConnections,
    /// There was no descriptor.
    Descriptors,
    /// The PROXY header was missing, malformed or not to be believed.
    ProxyHeader,
    /// The TLS handshake failed or took too long.
    Tls,
    /// An HTTP/2 client sent frames that cost much and mean little.
    Flood,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::MaxConnections, Self::Descriptors, Self::ProxyHeader, Self::Tls, Self::Flood];

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::Descriptors => "descriptors",
            Self::ProxyHeader => "proxy_header",
            Self::Tls => "tls",
            Self::Flood => "flood",
        }
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or 1.1, or nothing yet.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Handles for one listener.
pub struct ConnectionMetrics {
    accepted: IntCounter,
    active: [IntGauge; 2],
    refused: [IntCounter; Refused::ALL.len()],
}

impl ConnectionMetrics {
    /// For `listener`; all label sets exist from here on.
    pub(super) fn new(metrics: &Metrics, listener: &str) -> Self {
        Self {
            accepted: metrics.connections_accepted(listener),
            active: ["http/1.1", "h2"].map(|spoken| metrics.connections_active(listener, spoken)),
            refused: Refused::ALL.map(|why| metrics.connections_refused(listener, why.label())),
        }
    }

    /// One was accepted, or would have been.
    pub fn accepted(&self) {
        self.accepted.inc();
    }

    /// One was refused.
    pub fn refused(&self, why: Refused) {
        self.refused[why as usize].inc();
    }

    /// One is open as long as the result lives.
    pub fn open(&self, spoken: Spoken) -> OpenConnection<'_> {
        let gauge = &self.active[spoken as usize];
        gauge.inc();
        OpenConnection(gauge)
    }
}

/// A connection's place in the gauge.
#[must_use]
pub struct OpenConnection<'a>(&'a IntGauge);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
