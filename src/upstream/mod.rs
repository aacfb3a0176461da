//! Groups of endpoints, and the connections to them.
//!
//! [`balance`] decides which endpoint is next and is pure; [`connect`] opens connections and keeps
//! idle ones in pingora's pool; [`tracked`] knows what each of them is doing.

pub mod balance;
pub mod connect;
pub mod endpoint;
pub mod tracked;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use endpoint::{Endpoint, Seat};

use crate::config::model;
use crate::telemetry::metrics::Metrics;

/// A named group of endpoints.
pub struct Upstream {
    name: String,
    endpoints: Vec<Arc<Endpoint>>,
    pool: model::Pool,
    /// Where the next search begins, so that equals take turns.
    turn: AtomicUsize,
}

impl Upstream {
    /// Builds it from its configuration; all its label sets exist from here on.
    pub fn new(config: &model::Upstream, metrics: &Metrics) -> Self {
        let endpoint = |endpoint: &model::Endpoint| {
            Arc::new(Endpoint::new(endpoint, metrics.endpoint(&config.name, &endpoint.name)))
        };
        Self {
            name: config.name.clone(),
            endpoints: config.endpoints.iter().map(endpoint).collect(),
            pool: config.pool.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Its name in metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many endpoints it has.
    pub fn size(&self) -> usize {
        self.endpoints.len()
    }

    /// How idle connections are kept.
    pub fn pool(&self) -> &model::Pool {
        &self.pool
    }

    /// Idle connections that it may keep in all.
    pub fn max_idle(&self) -> usize {
        self.pool.max_idle.saturating_mul(self.endpoints.len())
    }

    /// Takes a seat at the endpoint with the fewest open exchanges, leaving out those in `tried`;
    /// `None` when all were tried. Those that could not be connected to a moment ago come last.
    pub fn pick(&self, tried: &mut Tried, now: Instant) -> Option<Seat> {
        let turn = *tried.turn.get_or_insert_with(|| self.turn.fetch_add(1, Ordering::Relaxed));
        let streams = || self.endpoints.iter().map(|endpoint| endpoint.streams());
        let was_tried = |index| tried.indices.contains(&index);
        let is_down = |index: usize| self.endpoints[index].is_down(now);
        let index = balance::least_streams(streams(), turn, |i| was_tried(i) || is_down(i))
            .or_else(|| balance::least_streams(streams(), turn, was_tried))?;
        tried.indices.push(index);
        Some(Seat::take(Arc::clone(&self.endpoints[index])))
    }
}

/// Endpoints that one exchange has tried.
#[derive(Debug, Default)]
pub struct Tried {
    indices: Vec<usize>,
    /// The exchange's turn among equals, taken with its first pick.
    turn: Option<usize>,
}

impl Tried {
    /// How many.
    pub fn count(&self) -> usize {
        self.indices.len()
    }
}
