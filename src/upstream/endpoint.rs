//! One address in an upstream: its name, its load, where it is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::EndpointMetrics;

/// How long the addresses of a name are used before it is looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// How long an endpoint that could not be connected to is passed over, if there are others. It has
/// no streams, so it would be everybody's first choice.
const AVOID_FOR: Duration = Duration::from_secs(1);

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
    /// A look-up is under way in the background.
    resolving: AtomicBool,
    /// When it could not be connected to, last.
    failed_at: Mutex<Option<Instant>>,
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
            resolving: AtomicBool::new(false),
            failed_at: Mutex::new(None),
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

    /// It could not be connected to.
    pub fn failed(&self, now: Instant) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether that was a moment ago.
    pub fn is_down(&self, now: Instant) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| now.saturating_duration_since(at) < AVOID_FOR)
    }

    /// Idle connections in the pool.
    pub fn idle(&self) -> &AtomicUsize {
        &self.idle
    }

    /// Its metric handles.
    pub fn metrics(&self) -> &EndpointMetrics {
        &self.metrics
    }

    /// Its addresses: never empty. A name is looked up once, and again in the background when the
    /// answer is older than ten seconds; until there is a new one, the last good answer stays.
    pub async fn addresses(self: &Arc<Self>) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, self.port)].into());
        }
        let last = self.lock().clone();
        let Some((at, addresses)) = last else { return self.resolve().await };
        let is_old = clock::now().saturating_duration_since(at) >= RESOLVE_EVERY;
        if is_old && !self.resolving.swap(true, Ordering::AcqRel) {
            let endpoint = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = endpoint.resolve().await {
                    tracing::warn!(host = endpoint.host, %error, "cannot resolve; using the last answer");
                }
                endpoint.resolving.store(false, Ordering::Release);
            });
        }
        Ok(addresses)
    }

    async fn resolve(&self) -> io::Result<Arc<[SocketAddr]>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let addresses: Arc<[SocketAddr]> = found.collect();
        if addresses.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        *self.lock() = Some((clock::now(), Arc::clone(&addresses)));
        Ok(addresses)
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
