//! How many retries an upstream can bear. Pure.
//!
//! When an upstream fails under load, retries are more load: a group that answers half of its
//! requests must not get twice as many for it. So each request pays for a part of a retry, and a
//! retry is made only if it has been paid for (Google's "Site Reliability Engineering", chapter 21,
//! and Finagle's `RetryBudget`, have it so).

use std::time::{Duration, Instant};

/// What requests may save up, in hundredths of a retry: a hundred retries. A long quiet day must
/// not pay for a storm.
const SAVED_MOST: u32 = 100 * RETRY;
/// The price of a retry, so that `percent` of a request is a whole number.
const RETRY: u32 = 100;

/// Without any requests before: a retry per second is always in it, so that an upstream with little
/// to do can retry at all …
const FLOOR_PRICE: Duration = Duration::from_secs(1);
/// … and ten at once.
const FLOOR_MOST: Duration = Duration::from_secs(10);

/// The retry budget of one upstream; its routes share it.
#[derive(Debug)]
pub struct Budget {
    /// In hundredths of a retry, from requests; up to [`SAVED_MOST`].
    saved: u32,
    /// Time that has passed and was not spent; up to [`FLOOR_MOST`].
    floor: Duration,
    /// Until when `floor` counts.
    counted: Instant,
}

impl Budget {
    /// With a full floor, and nothing saved.
    pub fn new(now: Instant) -> Self {
        Self { saved: 0, floor: FLOOR_MOST, counted: now }
    }

    /// A request came (not a retry) whose route allows `percent` retries per hundred requests.
    pub fn request(&mut self, percent: u32) {
        self.saved = self.saved.saturating_add(percent).min(SAVED_MOST);
    }

    /// Whether a request of a route with that percentage may be sent again; if so, it is paid for.
    /// A percentage of 0 allows none at all.
    pub fn spend(&mut self, percent: u32, now: Instant) -> bool {
        if percent == 0 {
            return false;
        }
        let passed = now.saturating_duration_since(self.counted);
        self.floor = self.floor.saturating_add(passed).min(FLOOR_MOST);
        self.counted = self.counted.max(now);
        if let Some(left) = self.saved.checked_sub(RETRY) {
            self.saved = left;
            return true;
        }
        let left = self.floor.checked_sub(FLOOR_PRICE);
        self.floor = left.unwrap_or(self.floor);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// How many retries are allowed in one moment, up to a thousand.
    fn spend_all(budget: &mut Budget, percent: u32, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.spend(percent, now)).count()
    }

    #[test]
    fn a_quiet_upstream_may_retry_once_a_second_and_ten_times_at_once() {
        let start = clock::now();
        let mut budget = Budget::new(start);
        assert_eq!(spend_all(&mut budget, 20, start), 10);
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(spend_all(&mut budget, 20, after(999)), 0);
        assert_eq!(spend_all(&mut budget, 20, after(1_000)), 1, "parts of a second add up");
        assert_eq!(spend_all(&mut budget, 20, after(4_500)), 3);
        assert_eq!(spend_all(&mut budget, 20, after(3_600_000)), 10);
        assert_eq!(spend_all(&mut budget, 20, start), 0, "a clock that was read earlier");
        assert_eq!(spend_all(&mut budget, 20, after(3_600_000)), 0, "and no time counts twice");
    }

    #[test]
    fn requests_pay_for_retries() {
        let now = clock::now();
        let mut budget = Budget::new(now);
        spend_all(&mut budget, 20, now);
        for _ in 0..50 {
            budget.request(20);
        }
        assert_eq!(spend_all(&mut budget, 20, now), 10);
        (0..4).for_each(|_| budget.request(20));
        assert_eq!(spend_all(&mut budget, 20, now), 0, "four fifths of a retry are none");
        budget.request(20);
        assert_eq!(spend_all(&mut budget, 20, now), 1);
    }

    #[test]
    fn a_failing_upstream_gets_a_fifth_more_and_no_retries_of_retries() {
        let now = clock::now();
        let mut budget = Budget::new(now);
        spend_all(&mut budget, 20, now);
        // Each request fails, and so does each retry, which asks again at once.
        let mut sent = 0;
        for _ in 0..10_000 {
            budget.request(20);
            sent += 1 + spend_all(&mut budget, 20, now);
        }
        assert_eq!(sent, 12_000);
    }

    #[test]
    fn savings_have_an_end() {
        let now = clock::now();
        let mut budget = Budget::new(now);
        (0..1_000_000).for_each(|_| budget.request(20));
        budget.request(u32::MAX);
        assert_eq!(spend_all(&mut budget, 20, now), 110);
    }

    #[test]
    fn zero_percent_are_none_at_all() {
        let now = clock::now();
        let mut budget = Budget::new(now);
        (0..1000).for_each(|_| budget.request(0));
        assert!(!budget.spend(0, now));
        assert_eq!(spend_all(&mut budget, 20, now), 10, "nothing was taken, nothing was saved");
    }
}
