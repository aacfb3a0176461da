//! How often is too often? The generic cell rate algorithm, in whole nanoseconds. Pure.
//!
//! It is a bucket of `burst` tokens that gets a new one every `interval`, kept as one number: the
//! time at which the bucket will be full again ("theoretical arrival time", ITU-T I.371 Annex A).
//! A request moves it on by one interval, and is refused if that moves it further than a whole
//! bucket ahead of now.

use std::time::Duration;

use crate::config::model::RateLimit;

/// A rate, ready for arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds from one token to the next; at least 1.
    interval: u64,
    /// At least 1.
    burst: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Nothing if it may pass, else the time after which it could.
    pub refused_for: Option<Duration>,
    /// Requests that could follow at once.
    pub remaining: u64,
    /// Until the whole burst is there again, if nothing more is asked.
    pub full_after: Duration,
}

impl Gcra {
    /// Takes over a configured rate.
    pub fn new(rate: &RateLimit) -> Self {
        let interval = u64::try_from(rate.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { interval, burst: u64::from(rate.burst.get()) }
    }

    /// Requests that may come at once after a pause.
    pub fn burst(self) -> u64 {
        self.burst
    }

    /// The time in which a whole burst grows again.
    pub fn window(self) -> Duration {
        Duration::from_nanos(self.capacity())
    }

    /// Decides about a request at `now`, in nanoseconds since any beginning. `full_at` is when the
    /// bucket will be full, 0 for one that always was; it moves on if the request may pass.
    ///
    /// `now` may be a little before that of an earlier call: threads read the clock before they
    /// come here. The bucket only looks a little emptier then.
    pub fn ask(self, full_at: &mut u64, now: u64) -> Verdict {
        let missing = full_at.saturating_sub(now);
        let left = self.capacity().saturating_sub(missing);
        let passes = left >= self.interval;
        let missing = if passes { missing + self.interval } else { missing };
        if passes {
            *full_at = now.saturating_add(missing);
        }
        let refused_for = (!passes).then(|| Duration::from_nanos(self.interval - left));
        let remaining = self.capacity().saturating_sub(missing) / self.interval;
        Verdict { refused_for, remaining, full_after: Duration::from_nanos(missing) }
    }

    /// Nanoseconds of a full bucket.
    fn capacity(self) -> u64 {
        self.burst.saturating_mul(self.interval)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::model::RateKey;

    pub(in crate::policy) fn rate(interval: u64, burst: u32) -> RateLimit {
        RateLimit {
            interval: Duration::from_nanos(interval),
            burst: NonZeroU32::new(burst).unwrap(),
            key: RateKey::Ip,
        }
    }

    /// Numbers that look random, the same in every run with that seed (xorshift64).
    pub(in crate::policy) struct Numbers(pub(in crate::policy) u64);

    impl Numbers {
        pub(in crate::policy) fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    /// The same promise told in another way: a bucket of tokens, each `interval` parts, that
    /// gets one part a nanosecond.
    struct Bucket {
        parts: u128,
        at: u64,
    }

    impl Bucket {
        fn ask(&mut self, interval: u64, burst: u32, now: u64) -> bool {
            let full = u128::from(interval) * u128::from(burst);
            self.parts = full.min(self.parts + u128::from(now - self.at));
            self.at = now;
            let passes = self.parts >= u128::from(interval);
            self.parts -= if passes { u128::from(interval) } else { 0 };
            passes
        }
    }

    #[test]
    fn it_decides_as_a_bucket_of_tokens_does() {
        for seed in 1..=300 {
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ seed);
            let (interval, burst) = (1 + numbers.below(1000), 1 + numbers.below(20) as u32);
            let gcra = Gcra::new(&rate(interval, burst));
            let mut bucket = Bucket { parts: u128::from(interval) * u128::from(burst), at: 0 };
            let (mut full_at, mut now) = (0, 0);
            let mut passed = Vec::new();
            for _ in 0..500 {
                // Crowds and pauses: up to some bursts long.
                let pause = interval * [0, 1, 2, 3 * u64::from(burst)][numbers.below(4) as usize];
                now += numbers.below(pause + 2);
                let verdict = gcra.ask(&mut full_at, now);
                let expected = bucket.ask(interval, burst, now);
                assert_eq!(verdict.refused_for.is_none(), expected, "seed {seed} at {now}");
                let left = u64::try_from(bucket.parts).unwrap();
                assert_eq!(verdict.remaining, left / interval, "seed {seed} at {now}");
                passed.extend(expected.then_some(now));
            }
            // In any window of t there are at most burst + t / interval.
            for (first, from) in passed.iter().enumerate() {
                for (more, until) in passed[first..].iter().enumerate() {
                    let most = u64::from(burst) + (until - from) / interval;
                    assert!((more as u64) < most, "seed {seed}: {from} to {until}");
                }
            }
        }
    }

    #[test]
    fn who_waits_as_long_as_told_may_pass_and_not_a_moment_before() {
        let gcra = Gcra::new(&rate(700, 3));
        for seed in 1..100 {
            let mut numbers = Numbers(seed);
            let (mut full_at, mut now) = (0, 5000);
            let wait = loop {
                match gcra.ask(&mut full_at, now).refused_for {
                    None => now += numbers.below(300),
                    Some(wait) => break u64::try_from(wait.as_nanos()).unwrap(),
                }
            };
            let mut early = full_at;
            assert!(gcra.ask(&mut early, now + wait - 1).refused_for.is_some(), "seed {seed}");
            assert_eq!(early, full_at, "a refusal costs nothing");
            assert!(gcra.ask(&mut full_at, now + wait).refused_for.is_none(), "seed {seed}");
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let gcra = Gcra::new(&rate(1_000_000_000_000, 1_000_000));
        let (mut full_at, now) = (0, u64::MAX / 2);
        for asked in 0..1_000_000 {
            assert!(gcra.ask(&mut full_at, now).refused_for.is_none(), "{asked}");
        }
        let verdict = gcra.ask(&mut full_at, now);
        assert_eq!(verdict.refused_for, Some(Duration::from_secs(1000)));
        assert_eq!(verdict.remaining, 0);
    }
}
