//! The limits at which requests are refused, and how often each was.

use prometheus::{IntCounter, IntCounterVec};

/// A limit of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `limits.streams`
    Streams,
    /// `limits.streams_per_client`
    StreamsPerClient,
    /// `limits.requests_per_second`
    Rate,
    /// `limits.max_request_body`
    Body,
    /// `limits.queue`, its size or its time.
    Queue,
}

impl Limit {
    const ALL: [Self; 5] =
        [Self::Streams, Self::StreamsPerClient, Self::Rate, Self::Body, Self::Queue];

    /// The name in the `limit` label.
    fn label(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::StreamsPerClient => "streams_per_client",
            Self::Rate => "rate",
            Self::Body => "body",
            Self::Queue => "queue",
        }
    }
}

/// A counter for each limit of one route.
pub struct Limited([IntCounter; 5]);

impl Limited {
    /// All of them exist from here on.
    pub(super) fn new(family: &IntCounterVec, route: &str) -> Self {
        Self(Limit::ALL.map(|limit| family.with_label_values(&[route, limit.label()])))
    }

    /// A request was refused at that limit.
    pub fn count(&self, limit: Limit) {
        self.0[limit as usize].inc();
    }
}
