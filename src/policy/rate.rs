//! How often each client has asked, for one route.
//!
//! A client is a number of 64 bits, hashed with a secret that is new in every process: whatever
//! clients send takes 8 bytes here, and nobody can choose to be taken for somebody else. Two of
//! 65,536 clients are the same number with a chance of one in eight billion.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::gcra::{Gcra, Verdict};
use crate::config::model::RateLimit;

/// Clients remembered per route, in 2 MiB. More than that at once, none of them with its whole
/// burst, are an attack or a job for something larger.
pub const KEYS_MAX: usize = 65_536;

/// Locks in one table, to keep the workers out of each other's way.
const SHARDS: usize = 16;

/// A shard that is full of clients who matter forgets some of them, until there is room for so many
/// more: so an attack costs a few steps per request rather than a look at all of them.
const FORGOTTEN_AT_ONCE: usize = KEYS_MAX / SHARDS / 8;

/// Below this a shard is not looked through.
const SWEEP_FROM: usize = 64;

/// The rate of each client.
pub struct Rates {
    gcra: Gcra,
    began: Instant,
    secret: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Some of the clients, each with the time when its whole burst is there again.
struct Shard {
    full_at: HashMap<u64, u64>,
    /// The number of clients at which to look for some who have their whole burst.
    sweep_at: usize,
}

impl Rates {
    /// Nobody has asked yet; `now` is the beginning of time.
    pub fn new(rate: &RateLimit, now: Instant) -> Self {
        let shard = |_| Mutex::new(Shard { full_at: HashMap::new(), sweep_at: SWEEP_FROM });
        Self {
            gcra: Gcra::new(rate),
            began: now,
            secret: RandomState::new(),
            shards: std::array::from_fn(shard),
        }
    }

    /// The rate itself.
    pub fn gcra(&self) -> Gcra {
        self.gcra
    }

    /// Decides about a request of `client` at `now`, and counts it if it may pass.
    pub fn ask(&self, client: &impl Hash, now: Instant) -> Verdict {
        let (key, now) = (self.secret.hash_one(client), self.nanoseconds(now));
        let mut shard = self.shard(key);
        if let Some(full_at) = shard.full_at.get_mut(&key) {
            return self.gcra.ask(full_at, now);
        }
        shard.make_room(now);
        self.gcra.ask(shard.full_at.entry(key).or_insert(0), now)
    }

    /// How many clients are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).full_at.len()).sum()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Since the beginning. A process lives shorter than the 584 years of a `u64`.
    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// The map takes low bits of a hash of its own; these are the high ones of the key.
    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(key >> 60) as usize % SHARDS])
    }
}

impl Shard {
    /// Forgets clients, so that there is room for one more. One who has the whole burst is as good
    /// as one who never came; if all have asked lately, those go who come closest to it, since
    /// forgetting them gives the least away.
    fn make_room(&mut self, now: u64) {
        if self.full_at.len() < self.sweep_at {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        let most = KEYS_MAX / SHARDS;
        // Just below the limit it would have to look again for almost everybody who comes.
        let mut left = (self.full_at.len() + FORGOTTEN_AT_ONCE).saturating_sub(most);
        if left > 0 {
            let mut times: Vec<_> = self.full_at.values().copied().collect();
            let (_, &mut last, _) = times.select_nth_unstable(left - 1);
            // Many may have the same time; no more of them than that are forgotten.
            self.full_at.retain(|_, full_at| {
                let goes = *full_at <= last && left > 0;
                left -= usize::from(goes);
                !goes
            });
        }
        // Looked through again once it has doubled: on average, two steps per client.
        self.sweep_at = (self.full_at.len() * 2).clamp(SWEEP_FROM, most);
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Each step leaves it whole, so a panic elsewhere does no harm.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
