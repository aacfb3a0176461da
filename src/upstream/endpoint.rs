//! One address in an upstream: its name, where it is, what is open there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus::IntGauge;

use super::balance::hash_key;
use super::learn::Learned;
use super::resting::Resting;
use super::sessions::Sessions;
use super::tls::TlsClient;
use crate::clock;
use crate::config::model::{self, Address};
use crate::telemetry::handles::EndpointMetrics;
use crate::telemetry::metrics::Metrics;

/// One entry of `endpoints`: what all addresses of its name have in common. It lives on through
/// reloads as long as its name, its address and how it is spoken to stay the same.
pub struct Source {
    name: Arc<str>,
    address: Address,
    /// Its share of the exchanges and the like, as a reload may change it.
    config: ArcSwap<model::Endpoint>,
    /// `host:port`, IPv6 in brackets; `localhost` for a unix socket.
    authority: String,
    metrics: Arc<EndpointMetrics>,
    /// The gauge that says whether it may be picked.
    up: IntGauge,
    /// How it is spoken to, if its scheme is `https`.
    tls: Option<Arc<TlsClient>>,
    /// Its name could not be resolved, the last time.
    is_unresolved: AtomicBool,
    /// An operator has taken it out.
    is_drained: AtomicBool,
}

impl Source {
    /// Builds it for an upstream from its configuration; `tls` is for `https`.
    pub fn new(
        upstream: &str,
        config: &model::Endpoint,
        tls: Option<Arc<TlsClient>>,
        metrics: &Metrics,
    ) -> Self {
        let authority = match &config.address {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(_) => "localhost".to_owned(),
        };
        Self {
            name: config.name.as_str().into(),
            address: config.address.clone(),
            config: ArcSwap::from_pointee(config.clone()),
            authority,
            metrics: metrics.endpoint(upstream, &config.name),
            up: metrics.endpoint_up(upstream, &config.name),
            tls,
            is_unresolved: AtomicBool::new(false),
            is_drained: AtomicBool::new(false),
        }
    }

    /// Its name in metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, to be kept.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Where it is, as the configuration says it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the configuration says about it.
    pub fn config(&self) -> arc_swap::Guard<Arc<model::Endpoint>> {
        self.config.load()
    }

    /// Whether a new configuration means this one, spoken to in the way of `tls`.
    pub(super) fn is_meant(&self, config: &model::Endpoint, tls: Option<&Arc<TlsClient>>) -> bool {
        let same_tls = match (&self.tls, tls) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        *self.name == *config.name && self.address == config.address && same_tls
    }

    /// Takes over what a new configuration says about it.
    pub(super) fn reconfigure(&self, config: model::Endpoint) {
        self.config.store(Arc::new(config));
    }

    /// Whether an operator has taken it out: what is open there runs on, and nothing new comes.
    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed)
    }

    /// Takes it out, or puts it back; says whether that is news.
    pub(super) fn set_drained(&self, drained: bool) -> bool {
        self.is_drained.swap(drained, Ordering::Relaxed) != drained
    }

    /// `host:port`, IPv6 in brackets; `localhost` for a unix socket.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The gauge that says whether it may be picked.
    pub(super) fn up(&self) -> &IntGauge {
        &self.up
    }

    /// How TLS is spoken to it, if it is.
    pub(super) fn tls_client(&self) -> Option<&Arc<TlsClient>> {
        self.tls.as_ref()
    }

    /// Its metric handles.
    pub fn metrics(&self) -> &EndpointMetrics {
        &self.metrics
    }

    /// Its name or address, and how TLS is spoken to it, if it is.
    pub(super) fn tls(&self) -> Option<(&str, &TlsClient)> {
        let Address::Tcp { host, .. } = &self.address else { return None };
        Some((host, self.tls.as_ref()?))
    }

    /// Its name was resolved, or was not; says whether that is news.
    pub(super) fn resolution_changes(&self, is_resolved: bool) -> bool {
        self.is_unresolved.swap(!is_resolved, Ordering::Relaxed) == is_resolved
    }
}

/// Where an endpoint is, once its name is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// An address and a TCP port.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

/// One endpoint.
pub struct Endpoint {
    /// Tells it from every other endpoint of this process.
    id: u64,
    /// The same in every process, so that replicas send a key to the same endpoint.
    hash: u64,
    source: Arc<Source>,
    place: Place,
    idle: AtomicUsize,
    active: AtomicUsize,
    opened: AtomicU64,
    learned: Mutex<Learned>,
    resting: Resting,
    sessions: Mutex<Sessions>,
    /// One HTTP/2 connection at a time is opened: those who wait for it will share it.
    pub(super) opening: tokio::sync::Mutex<()>,
}

impl Endpoint {
    /// One of the addresses of `source`.
    pub fn new(source: Arc<Source>, place: Place) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        // The address tells apart those that share a name.
        let hash = hash_key(format!("{} {place:?}", source.name).as_bytes());
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            hash,
            source,
            place,
            idle: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            learned: Mutex::new(Learned::new()),
            resting: Resting::default(),
            sessions: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The same in every process.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Its name in metrics and logs; addresses of one name share it.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// `host:port`, IPv6 in brackets; `localhost` for a unix socket.
    pub fn authority(&self) -> &str {
        &self.source.authority
    }

    /// What it has in common with the other addresses of its name.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// What the configuration says about it.
    pub fn config(&self) -> arc_swap::Guard<Arc<model::Endpoint>> {
        self.source.config()
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its metric handles.
    pub fn metrics(&self) -> &EndpointMetrics {
        &self.source.metrics
    }

    /// Its idle connections, counted.
    pub fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// All connections, idle or active.
    pub fn connections(&self) -> usize {
        self.idle() + self.active.load(Ordering::Relaxed) + self.sessions().count()
    }

    /// Exchanges open here at once, if there is a limit: `max_streams`, and no more than
    /// `max_connections` can carry. An exchange takes an idle connection first, so keeping to the
    /// one keeps to the other.
    pub fn capacity(&self, pool: &model::Pool) -> Option<usize> {
        let per_connection = if pool.http2 { pool.streams_per_connection } else { 1 };
        let carried = pool.max_connections.map(|most| most.saturating_mul(per_connection));
        self.config().max_streams.into_iter().chain(carried).min()
    }

    /// The upstream closed a connection that had been idle for so long.
    pub(super) fn learn(&self, idle: Duration) {
        let mut learned = self.learned();
        learned.closed(idle, clock::now());
        let shortest = learned.shortest(clock::now()).unwrap_or_default();
        self.metrics().learned_idle.set(shortest.as_secs_f64());
    }

    /// How long to keep an idle connection: what the configuration says, or less if the upstream
    /// was seen to close them earlier.
    pub(super) fn idle_limit(&self, pool: &model::Pool, now: Instant) -> Option<Duration> {
        let learned = if pool.learn { self.learned().limit(now) } else { None };
        pool.idle_timeout.into_iter().chain(learned).min()
    }

    /// How long a connection must have been idle for the upstream to be closing it just now.
    pub(super) fn suspicious(&self, now: Instant) -> Duration {
        self.learned().suspicious(now)
    }

    /// A number for each connection.
    pub(super) fn next_number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// Its idle connections.
    pub(super) fn resting(&self) -> &Resting {
        &self.resting
    }

    /// Closes its connections as far as they are idle, and has no new exchange on the others.
    pub(super) fn forget(&self) {
        self.sessions().clear();
        self.resting.clear();
    }

    /// Its HTTP/2 connections.
    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // A list of handles cannot be left half-changed by a panic.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the counts of its endpoint, as active or as idle; taken out when dropped.
pub(super) struct Count {
    endpoint: Arc<Endpoint>,
    idle: bool,
}

impl Count {
    /// Counts a new connection as active.
    pub(super) fn active(endpoint: Arc<Endpoint>) -> Self {
        let count = Self { endpoint, idle: false };
        count.enter();
        count
    }

    /// Moves it to the idle ones, if there are fewer than `most`: in one step, since workers give
    /// connections back at the same time.
    pub(super) fn rest(&mut self, most: usize) -> bool {
        let one_more = |idle: usize| (idle < most).then_some(idle + 1);
        let (order, idle) = (Ordering::Relaxed, &self.endpoint.idle);
        if idle.fetch_update(order, order, one_more).is_err() {
            return false;
        }
        self.endpoint.metrics().idle.inc();
        self.leave();
        self.idle = true;
        true
    }

    /// Moves it back to the active ones.
    pub(super) fn wake(&mut self) {
        self.leave();
        self.idle = false;
        self.enter();
    }

    fn enter(&self) {
        let (count, gauge) = self.place();
        count.fetch_add(1, Ordering::Relaxed);
        gauge.inc();
    }

    fn leave(&self) {
        let (count, gauge) = self.place();
        count.fetch_sub(1, Ordering::Relaxed);
        gauge.dec();
    }

    fn place(&self) -> (&AtomicUsize, &IntGauge) {
        let metrics = self.endpoint.metrics();
        match self.idle {
            true => (&self.endpoint.idle, &metrics.idle),
            false => (&self.endpoint.active, &metrics.active),
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.leave();
    }
}
