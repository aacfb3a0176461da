//! Numbers by which exchanges are told apart, here and elsewhere.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;

/// Makes them. No call goes to the kernel: a request needs several.
pub struct Ids {
    /// What request ids begin with: the microseconds of the epoch at which the process began.
    start: String,
    made: AtomicU64,
    /// Keys that the kernel gave.
    keys: RandomState,
    drawn: AtomicU64,
}

impl Ids {
    /// For a process that begins now.
    pub fn new() -> Self {
        let since_epoch = clock::wall().duration_since(std::time::UNIX_EPOCH);
        let start = since_epoch.map(|since| since.as_micros() as u64).unwrap_or_default();
        let start = format!("{start:x}-");
        let keys = RandomState::new();
        Self { start, made: AtomicU64::new(1), keys, drawn: AtomicU64::new(0) }
    }

    /// A request id that no other request of this process has.
    pub fn request_id(&self) -> String {
        let mut id = String::with_capacity(24);
        id.push_str(&self.start);
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        // Writing into a string cannot fail.
        let _ = write!(id, "{count:x}");
        id
    }

    /// A number that nobody can guess who has seen others: a count under a keyed hash (SipHash,
    /// which is made to be one).
    pub fn random(&self) -> u64 {
        self.keys.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_comes_twice() {
        let (one, other) = (Ids::new(), Ids::new());
        let drawn: HashSet<_> = (0..1000).flat_map(|_| [one.random(), other.random()]).collect();
        assert_eq!(drawn.len(), 2000, "two processes do not draw the same");
        let ids: HashSet<_> = (0..1000).map(|_| one.request_id()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn every_bit_is_as_often_one_as_zero() {
        let ids = Ids::new();
        let mut ones = [0_u32; 64];
        for _ in 0..4096 {
            let drawn = ids.random();
            (0..64).for_each(|bit| ones[bit] += u32::from(drawn >> bit & 1 == 1));
        }
        // Eight standard deviations around the half.
        assert!(ones.iter().all(|count| (1792..=2304).contains(count)), "{ones:?}");
    }
}
