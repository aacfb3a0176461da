//! Who of an upstream is there, how busy, how well, and who waits. Pure.
//!
//! One lock holds all of it, so that its answers are exact: no endpoint ever has more exchanges
//! than it may, and a place that is given back goes to the one who has waited longest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{Balancer, Candidate, eased};
use super::budget::Budget;
use super::endpoint::Endpoint;
use super::health::{Change, Health, may_eject};
use super::queue::{Queue, Ticket};
use crate::config::model;

/// All that is known of an upstream's endpoints; `W` is what is woken when a place is free.
pub struct Roster<W> {
    config: Arc<model::Upstream>,
    seed: u64,
    members: Vec<Member>,
    balancer: Balancer,
    queue: Queue<Waiting<W>>,
    budget: Budget,
}

/// An endpoint's row.
struct Member {
    endpoint: Arc<Endpoint>,
    /// Exchanges open here.
    streams: usize,
    health: Health,
    /// Its name no longer has this address, or a reload has taken it away. It stays until its
    /// connections have ended, so that they count when the address comes back.
    retired: bool,
}

impl Member {
    /// Whether it may be picked, if it has room.
    fn is_fit(&self, now: Instant) -> bool {
        !self.retired && !self.endpoint.source().is_drained() && self.health.admits(now)
    }
}

/// What an exchange asks for.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// What `balance = "hash"` hashes.
    pub key: Option<u64>,
    /// The endpoints that it has tried, by [`Endpoint::id`].
    pub tried: Vec<u64>,
}

struct Waiting<W> {
    ask: Ask,
    waiter: W,
}

/// The answer to an [`Ask`].
pub enum Picked {
    /// A place at that endpoint; it is counted.
    Endpoint(Arc<Endpoint>),
    /// Every endpoint that is fit has as many exchanges as it may have.
    Full,
    /// None is fit.
    Nobody {
        /// The first of them may be fit again after this, if that is known.
        retry_after: Option<Duration>,
    },
}

/// How well an endpoint is, whether or not an operator has taken it out. The better, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its name has no address.
    Absent,
    /// Health checks took it out.
    Down,
    /// Failures took it out, and it has not proved itself since.
    Ejected,
    /// It may be picked.
    Fit,
}

/// What an exchange tells about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Good,
    /// It could not be connected to.
    Unreachable,
    /// It failed in another way.
    Bad,
}

impl<W> Roster<W> {
    /// For an upstream without endpoints so far; `seed` is for choices at random.
    pub fn new(config: Arc<model::Upstream>, seed: u64, now: Instant) -> Self {
        let balancer = Balancer::new(&config.balance, seed);
        let (queue, budget) = (Queue::new(), Budget::new(now));
        Self { config, seed, members: Vec::new(), balancer, queue, budget }
    }

    /// Goes on by other rules, with the endpoints, and all that is known about them, as they are.
    pub fn reconfigure(&mut self, config: Arc<model::Upstream>, now: Instant) {
        if config.balance != self.config.balance {
            self.balancer = Balancer::new(&config.balance, self.seed);
        }
        for member in &mut self.members {
            member.health.reconfigure(&config.health, now);
        }
        self.config = config;
    }

    /// Whether there are no endpoints.
    pub fn is_empty(&self) -> bool {
        self.members.iter().all(|member| member.retired)
    }

    /// The endpoints that can be picked, fit or not.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.present().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// The endpoints that may be picked.
    pub fn fit_endpoints(&self, now: Instant) -> Vec<Arc<Endpoint>> {
        let fit = self.members.iter().filter(|member| member.is_fit(now));
        fit.map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// Whether there is an endpoint of that name.
    pub fn has(&self, name: &str) -> bool {
        self.present().any(|member| member.endpoint.name() == name)
    }

    /// How many exchanges are open at the endpoints of that name.
    pub fn streams(&self, name: &str) -> usize {
        let meant = self.members.iter().filter(|member| member.endpoint.name() == name);
        meant.map(|member| member.streams).sum()
    }

    /// Takes in endpoints that are new, and takes leave of those that `keep` does not want.
    pub fn change(&mut self, new: Vec<Arc<Endpoint>>, keep: impl Fn(&Endpoint) -> bool) {
        for member in &mut self.members {
            member.retired |= !keep(&member.endpoint);
        }
        for endpoint in new {
            let member = Member { endpoint, streams: 0, health: Health::new(), retired: false };
            self.members.push(member);
        }
        self.bury();
    }

    /// The endpoints that have left, for as long as something is open there.
    pub fn retired_endpoints(&mut self) -> Vec<Arc<Endpoint>> {
        self.bury();
        let retired = self.members.iter().filter(|member| member.retired);
        retired.map(|member| Arc::clone(&member.endpoint)).collect()
    }

    fn bury(&mut self) {
        let is_empty = |member: &Member| member.streams == 0 && member.endpoint.connections() == 0;
        self.members.retain(|member| !member.retired || !is_empty(member));
    }

    /// Brings back an endpoint that `is_meant` knows, if it has left with exchanges still open.
    pub fn revive(&mut self, is_meant: impl Fn(&Endpoint) -> bool) -> bool {
        let member = self.members.iter_mut().find(|member| is_meant(&member.endpoint));
        member.is_some_and(|member| {
            member.retired = false;
            true
        })
    }

    /// Takes a place at the endpoint that is next.
    pub fn pick(&mut self, ask: &Ask, now: Instant) -> Picked {
        let Some(rows) = self.open_rows(ask, now) else {
            return Picked::Nobody { retry_after: self.retry_after(now) };
        };
        let row = match rows[..] {
            [only] => Some(only),
            _ => {
                let candidates: Vec<_> = rows.iter().map(|&row| self.candidate(row, now)).collect();
                self.balancer.pick(&candidates, ask.key).map(|index| rows[index])
            }
        };
        let Some(row) = row else { return Picked::Full };
        let member = &mut self.members[row];
        member.streams += 1;
        member.health.picked(now);
        Picked::Endpoint(Arc::clone(&member.endpoint))
    }

    /// Whether there is a fit endpoint other than those that were tried and `id`.
    pub fn has_another(&self, ask: &Ask, id: u64, now: Instant) -> bool {
        self.members.iter().any(|member| {
            let other = member.endpoint.id();
            other != id && !ask.tried.contains(&other) && member.is_fit(now)
        })
    }

    /// Gives a place back; `abandoned` says that nothing was learned about the endpoint.
    pub fn give_back(&mut self, id: u64, abandoned: bool) {
        let Some(member) = self.members.iter_mut().find(|member| member.endpoint.id() == id) else {
            return;
        };
        member.streams -= 1;
        if abandoned {
            member.health.abandoned();
        }
    }

    /// Takes note of how an exchange went.
    pub fn report(&mut self, id: u64, verdict: Verdict, now: Instant) -> Option<Change> {
        let total = self.present().count();
        let ejected = self.present().filter(|member| member.health.is_ejected()).count();
        let passive = &self.config.health.passive;
        let one_more = may_eject(ejected, total, passive.max_ejected_percent);
        let health = &mut self.members.iter_mut().find(|m| m.endpoint.id() == id)?.health;
        match verdict {
            Verdict::Good => health.succeeded(now),
            Verdict::Bad => health.failed(passive, one_more, now),
            Verdict::Unreachable => {
                health.connect_failed(now);
                health.failed(passive, one_more, now)
            }
        }
    }

    /// Takes note of the answer to a health check.
    pub fn checked(&mut self, id: u64, good: bool, now: Instant) -> Option<Change> {
        let rules = self.config.health.active.as_ref()?;
        let member = self.members.iter_mut().find(|member| member.endpoint.id() == id)?;
        member.health.checked(good, rules, now)
    }

    /// Whether an endpoint of that name may be picked.
    pub fn is_up(&self, name: &str, now: Instant) -> bool {
        self.members.iter().any(|member| member.endpoint.name() == name && member.is_fit(now))
    }

    /// How well those are that have that name: as well as the best of them.
    pub fn standing(&self, name: &str, now: Instant) -> Standing {
        let named = self.present().filter(|member| member.endpoint.name() == name);
        let standing = named.map(|member| match &member.health {
            health if health.admits(now) => Standing::Fit,
            health if health.is_ejected() => Standing::Ejected,
            _ => Standing::Down,
        });
        standing.max().unwrap_or(Standing::Absent)
    }

    // === The queue ===

    /// How many wait.
    pub fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Lets `waiter` wait for a place.
    pub fn wait(&mut self, principal: u64, ask: Ask, waiter: W) -> Ticket {
        self.queue.push(principal, Waiting { ask, waiter })
    }

    /// It waits no longer; gives it back if it still did.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        self.queue.remove(ticket).map(|waiting| waiting.waiter)
    }

    /// The next of those who wait, with its place, if there is one for it.
    pub fn next_waiter(&mut self, now: Instant) -> Option<(W, Arc<Endpoint>)> {
        // Not worth a look at each of them while there is no place for anybody.
        if self.queue.is_empty()
            || self.open_rows(&Ask::default(), now).is_none_or(|r| r.is_empty())
        {
            return None;
        }
        // The queue is out of reach of `pick` meanwhile, which does not look at it.
        let mut queue = std::mem::replace(&mut self.queue, Queue::new());
        let mut place = None;
        let taken = queue.take(|waiting| match self.pick(&waiting.ask, now) {
            Picked::Endpoint(endpoint) => {
                place = Some(endpoint);
                true
            }
            Picked::Full | Picked::Nobody { .. } => false,
        });
        self.queue = queue;
        Some((taken?.waiter, place?))
    }

    // === The budget ===

    /// A request came that may be tried again.
    pub fn deposit(&mut self, percent: u32) {
        self.budget.request(percent);
    }

    /// Whether the upstream can bear another try.
    pub fn spend(&mut self, percent: u32, now: Instant) -> bool {
        self.budget.spend(percent, now)
    }

    /// The rows that may be picked now: empty if all that are fit are full, none if none is fit.
    fn open_rows(&self, ask: &Ask, now: Instant) -> Option<Vec<usize>> {
        let untried = |member: &Member| !ask.tried.contains(&member.endpoint.id());
        let fit = |member: &Member| member.is_fit(now) && untried(member);
        // A backup is there for when all the others are down, not for when they are busy.
        let primaries = self.rows(|member| fit(member) && !member.endpoint.config().backup);
        let fit_rows = if primaries.is_empty() { self.rows(fit) } else { primaries };
        if fit_rows.is_empty() {
            return None;
        }
        let has_room = |row: &usize| {
            let member = &self.members[*row];
            let capacity = member.endpoint.capacity(&self.config.pool);
            capacity.is_none_or(|most| member.streams < most)
        };
        let mut rows: Vec<_> = fit_rows.into_iter().filter(has_room).collect();
        if rows.iter().any(|&row| !self.members[row].health.avoided(now)) {
            rows.retain(|&row| !self.members[row].health.avoided(now));
        }
        Some(rows)
    }

    fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.retired)
    }

    fn rows(&self, wanted: impl Fn(&Member) -> bool) -> Vec<usize> {
        (0..self.members.len()).filter(|&row| wanted(&self.members[row])).collect()
    }

    fn candidate(&self, row: usize, now: Instant) -> Candidate {
        let Member { endpoint, streams, health, .. } = &self.members[row];
        let weight = endpoint.config().weight;
        let weight = eased(weight, health.up_since(), self.config.slow_start, now);
        Candidate { id: endpoint.hash(), streams: *streams, weight }
    }

    fn retry_after(&self, now: Instant) -> Option<Duration> {
        let back = self.present().filter_map(|member| member.health.returns_at()).min()?;
        Some(back.saturating_duration_since(now))
    }
}
