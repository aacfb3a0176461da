//! `[routes.NAME.limits]`: how much of everything a route and its clients may have.

use std::num::NonZeroU32;
use std::time::Duration;

/// `[routes.NAME.limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Exchanges open at once on the route; `None` for no limit.
    pub streams: Option<usize>,
    /// Exchanges of one client open at once on the route; `None` for no limit.
    pub streams_per_client: Option<usize>,
    /// How often one client may ask; `None` for no limit.
    pub requests_per_second: Option<RateLimit>,
    /// Longest request body in bytes; `None` for no limit.
    pub max_request_body: Option<u64>,
    /// Where requests wait when every endpoint is full.
    pub queue: Queue,
}

/// `limits.requests_per_second`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// From one request to the next at the allowed rate, rounded up to whole nanoseconds.
    pub interval: Duration,
    /// Requests that may come at once after a pause.
    pub burst: NonZeroU32,
    /// Whose requests are counted together.
    pub key: RateKey,
}

/// `limits.requests_per_second.key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address.
    Ip,
    /// Whoever asks; the client's address if that is not known.
    Auth,
    /// The value of this field, in lower case; the client's address if there is none.
    Header(String),
}

/// `routes.NAME.limits.queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait at the upstream at once; 0 for none.
    pub size: usize,
    /// How long one may wait.
    pub timeout: Duration,
}
