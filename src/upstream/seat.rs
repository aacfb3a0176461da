//! An exchange's place at an endpoint, and its place in the queue; both are given back when
//! dropped.

use std::sync::Arc;
use std::time::Instant;

use super::Upstream;
use super::endpoint::Endpoint;
use super::gauge;
use super::queue::Ticket;
use super::roster::Verdict;

/// An exchange's place at an endpoint.
pub struct Seat {
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
    /// The exchange has said how the endpoint did.
    has_reported: bool,
    /// The place was given back in another way.
    is_forgotten: bool,
}

impl Seat {
    /// A place that the roster has counted.
    pub(super) fn new(upstream: Arc<Upstream>, endpoint: Arc<Endpoint>) -> Self {
        endpoint.metrics().streams.inc();
        Self { upstream, endpoint, has_reported: false, is_forgotten: false }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Says how the endpoint did, as is known since `now`.
    pub fn report(&mut self, verdict: Verdict, now: Instant) {
        self.has_reported = true;
        let change = self.upstream.roster().report(self.endpoint.id(), verdict, now);
        self.upstream.announce(&self.endpoint, change);
    }

    /// The roster has been told already.
    pub(super) fn forget(mut self) {
        self.is_forgotten = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.endpoint.metrics().streams.dec();
        if self.is_forgotten {
            return;
        }
        self.upstream.give_back(&self.endpoint, !self.has_reported);
    }
}

/// A place in the queue.
pub(super) struct PlaceInQueue<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) ticket: Ticket,
}

impl Drop for PlaceInQueue<'_> {
    fn drop(&mut self) {
        let mut roster = self.upstream.roster();
        // A seat that was sent meanwhile goes back by being dropped with the channel.
        drop(roster.leave(self.ticket));
        self.upstream.metrics.queue_length.set(gauge(roster.queue_length()));
    }
}
