//! The HTTP/2 connections to one endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::Source;
use super::http2::{Exchange, Session};
use crate::clock;
use crate::telemetry::metrics::PoolClose;

/// All of them, the closed ones until they are next looked after.
#[derive(Default)]
pub(super) struct Sessions(Vec<Held>);

/// One connection in its endpoint's gauges; taken out when dropped.
struct Held {
    session: Session,
    source: Arc<Source>,
    /// Since when it has no exchange, as far as was seen.
    idle_since: Option<Instant>,
    retires: Option<Instant>,
}

impl Sessions {
    /// A place on one of them.
    pub(super) fn open(&mut self) -> Option<Exchange> {
        self.0.iter_mut().find_map(|held| {
            let exchange = held.session.open()?;
            held.set_idle(None);
            Some(exchange)
        })
    }

    /// Takes in a new one, which gets no new exchange after `retires`.
    pub(super) fn add(&mut self, session: Session, source: Arc<Source>, retires: Option<Instant>) {
        source.metrics().active.inc();
        self.0.push(Held { session, source, idle_since: None, retires });
    }

    /// Lets go of those that are closed, too old, or idle for longer than `limit`. Their exchanges
    /// run on.
    pub(super) fn look_after(&mut self, limit: Option<Duration>) {
        let now = clock::now();
        self.0.retain_mut(|held| {
            if held.session.streams() == 0 {
                held.set_idle(held.idle_since.or(Some(now)));
            }
            let is_over = |limit| held.idle_since.is_some_and(|since| now - since >= limit);
            let reason = if held.session.is_closed() {
                PoolClose::PeerClosed
            } else if held.retires.is_some_and(|at| at <= now) {
                PoolClose::MaxLifetime
            } else if limit.is_some_and(is_over) {
                PoolClose::IdleTimeout
            } else {
                return true;
            };
            held.source.metrics().pool_closed(reason).inc();
            false
        });
    }

    /// Lets go of all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl Held {
    fn set_idle(&mut self, since: Option<Instant>) {
        let metrics = self.source.metrics();
        match (self.idle_since.is_some(), since.is_some()) {
            (false, true) => {
                metrics.active.dec();
                metrics.idle.inc();
            }
            (true, false) => {
                metrics.idle.dec();
                metrics.active.inc();
            }
            (true, true) | (false, false) => {}
        }
        self.idle_since = since;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let metrics = self.source.metrics();
        if self.idle_since.is_some() { metrics.idle.dec() } else { metrics.active.dec() }
    }
}
