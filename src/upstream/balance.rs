//! Which endpoint takes the next exchange. Pure: the caller says who may be picked, and how busy
//! they are.
//!
//! Load is `(streams + 1) / weight`: what it would be with the new exchange. So an idle endpoint of
//! weight 2 comes before an idle one of weight 1, and a group fills up in the ratio of its weights.
//!
//! All of it is linear in the number of endpoints, and none of it allocates once it has met them.

use std::time::{Duration, Instant};

use crate::config::model;

mod hash;
mod random;
mod turns;

pub use hash::hash_key;

use random::Random;
use turns::{RecentTurns, SmoothTurns};

/// An endpoint that may be picked now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The same for an address in every process and every configuration, for hashing and for turns.
    pub id: u64,
    /// Exchanges open there.
    pub streams: usize,
    /// Its share next to the others, above 0; see [`eased`].
    pub weight: f64,
}

impl Candidate {
    /// Exchanges per weight if it took one more.
    fn load(&self) -> f64 {
        // A quotient of whole numbers is rounded correctly (IEEE 754), so equal loads are equal
        // here too: 2/2 and 3/3, 5/1000 and 1/200.
        (self.streams as f64 + 1.0) / self.weight
    }
}

/// An upstream's policy, with what it remembers from one pick to the next.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    random: Random,
    recent: RecentTurns,
}

#[derive(Debug)]
enum Policy {
    LeastStreams,
    RoundRobin(SmoothTurns),
    P2c,
    Random,
    Hash,
}

impl Balancer {
    /// Without a past. `seed` is for what is left to chance; where a key goes does not depend on
    /// it.
    pub fn new(policy: &model::Balance, seed: u64) -> Self {
        let policy = match policy {
            model::Balance::LeastStreams => Policy::LeastStreams,
            model::Balance::RoundRobin => Policy::RoundRobin(SmoothTurns::default()),
            model::Balance::P2c => Policy::P2c,
            model::Balance::Random => Policy::Random,
            model::Balance::Hash(_) => Policy::Hash,
        };
        Self { policy, random: Random::new(seed), recent: RecentTurns::default() }
    }

    /// The index of the next one; `None` if there are no candidates.
    ///
    /// Candidates are only those that may be picked now: well, with room, not tried. Their ids
    /// differ; their order does not matter. `key` is [`hash_key`] of what the policy hashes; those
    /// without one go where there are the fewest.
    pub fn pick(&mut self, candidates: &[Candidate], key: Option<u64>) -> Option<usize> {
        match (&mut self.policy, key) {
            (Policy::Hash, Some(key)) => hash::pick(candidates, key),
            (Policy::LeastStreams, _) | (Policy::Hash, None) => self.recent.least(candidates),
            (Policy::RoundRobin(turns), _) => turns.pick(candidates),
            (Policy::P2c, _) => better_of_two(candidates, &mut self.random),
            (Policy::Random, _) => by_weight(candidates, None, &mut self.random),
        }
    }
}

/// The weight of an endpoint that has been up since then: from a tenth of `weight` to all of it,
/// linear over `slow_start`. `up_since` is `None` for one that was there from the start.
pub fn eased(
    weight: u32,
    up_since: Option<Instant>,
    slow_start: Option<Duration>,
    now: Instant,
) -> f64 {
    let weight = f64::from(weight);
    let (Some(since), Some(span)) = (up_since, slow_start) else { return weight };
    let age = now.saturating_duration_since(since);
    if age >= span {
        return weight;
    }
    weight * (0.1 + 0.9 * age.as_secs_f64() / span.as_secs_f64())
}

/// Two at random, by weight, and of these the one with less load ("power of two choices":
/// Mitzenmacher, IEEE TPDS 12:10, 2001). The first of them if they are equal.
fn better_of_two(candidates: &[Candidate], random: &mut Random) -> Option<usize> {
    let first = by_weight(candidates, None, random)?;
    let Some(second) = by_weight(candidates, Some(first), random) else { return Some(first) };
    let second_is_better = candidates[second].load() < candidates[first].load();
    Some(if second_is_better { second } else { first })
}

/// One at random, by weight, but not the one at `left_out`; `None` if there is no other.
fn by_weight(
    candidates: &[Candidate],
    left_out: Option<usize>,
    random: &mut Random,
) -> Option<usize> {
    let others = || candidates.iter().enumerate().filter(|(index, _)| Some(*index) != left_out);
    let total: f64 = others().map(|(_, candidate)| candidate.weight).sum();
    let mut point = random.unit() * total;
    let mut last = None;
    for (index, candidate) in others() {
        last = Some(index);
        point -= candidate.weight;
        if point < 0.0 {
            break;
        }
    }
    // Rounding may leave the point just behind the end: that is the last one's.
    last
}

#[cfg(test)]
mod tests;
