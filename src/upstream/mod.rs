//! Groups of endpoints, and the connections to them.
//!
//! Pure: [`roster`] knows who is there, how busy and how well, and asks [`balance`] (who is next),
//! [`health`] (who is fit), [`queue`] (who waits) and [`budget`] (may it be tried again);
//! [`replay`] decides about a failed request, [`delivery`] judges whether it was received,
//! [`learn`] finds out how long idle connections live. IO: [`connect`] takes connections from those
//! that are [`resting`] or has [`dial`] open new ones; each [`connection`] counts itself;
//! [`question`] asks something on the proxy's own behalf; [`resolver`], [`checker`] and [`upkeep`]
//! run in the background. A [`change`] is what a reload makes of one, a [`status`] what operators
//! see of it.

pub mod balance;
pub mod budget;
pub mod change;
pub mod checker;
pub mod connect;
pub mod connection;
pub mod delivery;
mod dial;
pub mod endpoint;
pub mod health;
pub mod http2;
pub mod learn;
pub mod question;
pub mod queue;
pub mod replay;
pub mod resolver;
mod resting;
pub mod roster;
pub mod seat;
mod sessions;
pub mod status;
pub mod tls;
pub mod transport;
pub mod upkeep;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use endpoint::{Endpoint, Place, Source};
use health::Change;
use replay::Cause;
use roster::{Ask, Picked, Roster};
use seat::Seat;
use upkeep::Upkeep;

use crate::clock;
use crate::config::model::{self, Address};
use crate::telemetry::handles::UpstreamMetrics;
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsError;

/// A named group of endpoints.
pub struct Upstream {
    name: Arc<str>,
    /// As the last reload left it.
    config: ArcSwap<model::Upstream>,
    sources: ArcSwap<Vec<Arc<Source>>>,
    roster: Mutex<Roster<oneshot::Sender<Seat>>>,
    metrics: Arc<UpstreamMetrics>,
    /// Turns true once every name has been looked up.
    looked_up: watch::Sender<bool>,
    /// What is done in the background.
    upkeep: Mutex<Option<Upkeep>>,
    /// No configuration has it any more.
    is_retired: AtomicBool,
}

/// Why there is no place at any endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSeat {
    /// No endpoint is fit to be picked; perhaps one is after that time.
    NoEndpoint {
        /// If that is known.
        retry_after: Option<Duration>,
    },
    /// No name could be resolved.
    Unresolved,
    /// All are full, and so is the queue.
    QueueFull,
    /// The time in the queue is over.
    QueueTimeout,
    /// All were tried.
    AllTried,
}

impl Upstream {
    /// Builds it from its configuration; all its label sets exist from here on. An error is about
    /// the files that `tls` names.
    pub fn new(config: &model::Upstream, metrics: &Metrics) -> Result<Self, TlsError> {
        // First: what is swept meanwhile is what nobody has.
        let handles = metrics.upstream(&config.name, &Cause::ALL.map(Cause::label));
        let sources = change::sources(config, &[], metrics)?;
        let seed = RandomState::new().hash_one(&config.name);
        let config = Arc::new(config.clone());
        let mut roster = Roster::new(Arc::clone(&config), seed, clock::now());
        let known = known_endpoints(&sources);
        let all_known = known.len() == sources.len();
        roster.change(known, |_| true);
        let upstream = Self {
            name: config.name.as_str().into(),
            metrics: handles,
            config: ArcSwap::new(config),
            sources: ArcSwap::from_pointee(sources),
            roster: Mutex::new(roster),
            looked_up: watch::Sender::new(all_known),
            upkeep: Mutex::default(),
            is_retired: AtomicBool::new(false),
        };
        upstream.show();
        Ok(upstream)
    }

    /// Its name in metrics and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, to be kept.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// What the configuration says about it.
    pub fn config(&self) -> Arc<model::Upstream> {
        self.config.load_full()
    }

    /// Counts a request that is tried again.
    pub fn count_retry(&self, cause: Cause) {
        self.metrics.retries[cause as usize].inc();
    }

    /// A request that may be tried again has come.
    pub fn deposit(&self, percent: u32) {
        self.roster().deposit(percent);
    }

    /// Whether the retry budget allows another try.
    pub fn spend(&self, percent: u32) -> bool {
        self.roster().spend(percent, clock::now())
    }

    /// Whether there is another endpoint to try than those of `ask` and that one.
    pub fn has_another(&self, ask: &Ask, id: u64) -> bool {
        self.roster().has_another(ask, id, clock::now())
    }

    /// A place at the endpoint that is next; waits in the queue if all are full, for as long and
    /// with as many others as `queue` says. `principal` is whom the request is for: the queue is
    /// fair between them.
    pub async fn seat(
        self: &Arc<Self>,
        ask: &Ask,
        principal: u64,
        queue: &model::Queue,
    ) -> Result<Seat, NoSeat> {
        self.names_are_known().await;
        let (ticket, receiver) = {
            let mut roster = self.roster();
            match roster.pick(ask, clock::now()) {
                Picked::Endpoint(endpoint) => return Ok(Seat::new(Arc::clone(self), endpoint)),
                Picked::Nobody { .. } if roster.is_empty() => return Err(NoSeat::Unresolved),
                Picked::Nobody { .. } if !ask.tried.is_empty() => return Err(NoSeat::AllTried),
                Picked::Nobody { retry_after } => return Err(NoSeat::NoEndpoint { retry_after }),
                Picked::Full if roster.queue_length() >= queue.size => {
                    return Err(NoSeat::QueueFull);
                }
                Picked::Full => {}
            }
            let (sender, receiver) = oneshot::channel();
            let ticket = roster.wait(principal, ask.clone(), sender);
            self.metrics.queue_length.set(gauge(roster.queue_length()));
            (ticket, receiver)
        };
        let since = clock::now();
        let _place = seat::PlaceInQueue { upstream: self, ticket };
        let waited = tokio::time::timeout(queue.timeout, receiver).await;
        let wait = clock::now().saturating_duration_since(since);
        self.metrics.queue_wait.observe(wait.as_secs_f64());
        match waited {
            Ok(Ok(seat)) => Ok(seat),
            Ok(Err(_)) | Err(_) => Err(NoSeat::QueueTimeout),
        }
    }

    /// A place is free again; `abandoned` says that nothing was learned about the endpoint.
    fn give_back(self: &Arc<Self>, endpoint: &Endpoint, abandoned: bool) {
        let mut roster = self.roster();
        roster.give_back(endpoint.id(), abandoned);
        self.serve_queue(&mut roster);
    }

    /// Gives free places to those who wait.
    fn serve_queue(self: &Arc<Self>, roster: &mut Roster<oneshot::Sender<Seat>>) {
        if roster.queue_length() == 0 {
            return;
        }
        while let Some((waiter, endpoint)) = roster.next_waiter(clock::now()) {
            let seat = Seat::new(Arc::clone(self), Arc::clone(&endpoint));
            if let Err(refused) = waiter.send(seat) {
                // It has left a moment ago. Dropping the seat would lock the roster again.
                refused.forget();
                roster.give_back(endpoint.id(), true);
            }
        }
        self.metrics.queue_length.set(gauge(roster.queue_length()));
    }

    /// Takes note of the answer to a health check.
    fn checked(self: &Arc<Self>, endpoint: &Endpoint, good: bool) -> Option<Change> {
        let mut roster = self.roster();
        let change = roster.checked(endpoint.id(), good, clock::now());
        if change == Some(Change::Up) {
            self.serve_queue(&mut roster);
        }
        change
    }

    /// The endpoints that may be picked.
    fn fit_endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.roster().fit_endpoints(clock::now())
    }

    /// Everything about its endpoints, locked. Held for moments only, never across an await.
    fn roster(&self) -> MutexGuard<'_, Roster<oneshot::Sender<Seat>>> {
        // Its methods leave it whole even when they panic: counts change by single steps.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn names_are_known(&self) {
        // The sender lives as long as `self`. One endpoint is enough; the others come in later.
        let is_enough = |known: &bool| *known || !self.roster().is_empty();
        // All but the first requests find it so, and need not wait in line for news.
        if is_enough(&self.looked_up.borrow()) {
            return;
        }
        let _ = self.looked_up.subscribe().wait_for(is_enough).await;
    }

    /// Logs a change of an endpoint's state, once, and shows it.
    fn announce(&self, endpoint: &Endpoint, change: Option<Change>) {
        // Nearly every exchange reports that nothing has changed.
        let Some(change) = change else { return };
        let (upstream, name) = (self.name(), endpoint.name());
        let place = format!("{:?}", endpoint.place());
        match change {
            Change::Up => tracing::info!(upstream, endpoint = name, place, "endpoint is up"),
            Change::Down => tracing::warn!(upstream, endpoint = name, place, "endpoint is down"),
            Change::Ejected { duration } => {
                endpoint.metrics().ejections.inc();
                let seconds = duration.as_secs_f64();
                tracing::warn!(upstream, endpoint = name, place, seconds, "endpoint is ejected");
            }
        }
        self.show();
    }

    /// Sets the gauges that say which endpoints may be picked.
    fn show(&self) {
        let roster = self.roster();
        for source in self.sources.load().iter() {
            let up = roster.is_up(source.name(), clock::now());
            source.up().set(i64::from(up));
        }
    }
}

/// The endpoints whose addresses need no look-up.
fn known_endpoints<'a>(sources: impl IntoIterator<Item = &'a Arc<Source>>) -> Vec<Arc<Endpoint>> {
    let endpoint = |source: &Arc<Source>| {
        let place = known_place(source.address())?;
        Some(Arc::new(Endpoint::new(Arc::clone(source), place)))
    };
    sources.into_iter().filter_map(endpoint).collect()
}

/// Where an address is, if that needs no look-up.
fn known_place(address: &Address) -> Option<Place> {
    match address {
        Address::Unix(path) => Some(Place::Unix(path.clone())),
        Address::Tcp { host, port } => {
            let address: IpAddr = host.parse().ok()?;
            Some(Place::Tcp((address, *port).into()))
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
