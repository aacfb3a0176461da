//! One address in an upstream: its name, its load, where it is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::EndpointMetrics;

/// How long the addresses of a name are used before it is looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// One endpoint.
pub struct Endpoint {
    /// Tells its pooled connections from those of every other endpoint.
    id: u64,
    name: String,
    host: String,
    port: u16,
    /// `host:port`, as in a URL.
    authority: String,
    streams: AtomicUsize,
    idle: AtomicUsize,
    metrics: EndpointMetrics,
    resolved: Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
}

impl Endpoint {
    /// Builds it from its configuration and metric handles.
    pub fn new(config: &model::Endpoint, metrics: EndpointMetrics) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let brackets = config.host.contains(':');
        let authority = if brackets {
            format!("[{}]:{}", config.host, config.port)
        } else {
            format!("{}:{}", config.host, config.port)
        };
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: config.name.clone(),
            host: config.host.clone(),
            port: config.port,
            authority,
            streams: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            metrics,
            resolved: Mutex::new(None),
        }
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name in metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port`, IPv6 in brackets.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Exchanges that are open here.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Idle connections in the pool.
    pub fn idle(&self) -> &AtomicUsize {
        &self.idle
    }

    /// Its metric handles.
    pub fn metrics(&self) -> &EndpointMetrics {
        &self.metrics
    }

    /// Its addresses: never empty. A name is looked up at most every ten seconds; when that fails,
    /// the last good answer stays.
    pub async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, self.port)].into());
        }
        let last = self.lock().clone();
        if let Some((at, addresses)) = &last
            && clock::now().saturating_duration_since(*at) < RESOLVE_EVERY
        {
            return Ok(Arc::clone(addresses));
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: io::Result<Arc<[SocketAddr]>> = found.map(Iterator::collect);
        match (found, last) {
            (Ok(addresses), _) if !addresses.is_empty() => {
                *self.lock() = Some((clock::now(), Arc::clone(&addresses)));
                Ok(addresses)
            }
            (_, Some((_, addresses))) => Ok(addresses),
            (Ok(_), None) => Err(io::Error::from(io::ErrorKind::NotFound)),
            (Err(error), None) => Err(error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Arc<[SocketAddr]>)>> {
        // Replaced as a whole: a panic cannot leave it half-written.
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange's seat at an endpoint; given back when dropped.
pub struct Seat(Arc<Endpoint>);

impl Seat {
    /// Takes a seat.
    pub fn take(endpoint: Arc<Endpoint>) -> Self {
        endpoint.streams.fetch_add(1, Ordering::Relaxed);
        endpoint.metrics.streams.inc();
        Self(endpoint)
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.streams.dec();
    }
}
