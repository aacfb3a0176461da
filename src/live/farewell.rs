//! When to say farewell to whom while the process drains. Pure.

use std::time::{Duration, Instant};

/// The plan of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewells {
    /// When it began to wait for what is open.
    pub began: Instant,
    /// How long it waits at most.
    pub grace: Duration,
    /// Over this the farewells are spread, so that clients do not come back all at once.
    pub spread: Duration,
    /// Whether there are farewells at all.
    pub notify: bool,
}

impl Farewells {
    /// When it is the turn of a stream that has no end of its own, such as a WebSocket; `fraction`
    /// is its place in the spread, from 0 to 1. Waiting would gain it nothing, so this is from the
    /// beginning on.
    pub fn endless(&self, fraction: f64) -> Instant {
        self.began + self.spread.mul_f64(fraction)
    }

    /// When it is the turn of a stream that may come to its own end, such as a model's answer. As
    /// late as possible, and yet within `grace`: whoever stops the process is no more patient than
    /// that. With a `grace` that is shorter than two times `spread`, it has half of it for itself.
    pub fn finite(&self, fraction: f64) -> Instant {
        let spread = self.spread.min(self.grace / 2);
        self.began + self.grace - spread.mul_f64(1.0 - fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn all_turns_are_within_grace() {
        let secs = Duration::from_secs;
        let began = clock::now();
        for (grace, spread, first_finite) in
            [(300, 20, 280), (30, 20, 15), (10, 0, 10), (10, 300, 5), (0, 20, 0)]
        {
            let (grace, spread) = (secs(grace), secs(spread));
            let farewells = Farewells { began, grace, spread, notify: true };
            assert_eq!(farewells.finite(0.0), began + secs(first_finite), "{farewells:?}");
            assert_eq!(farewells.finite(1.0), began + grace, "{farewells:?}");
            assert_eq!(farewells.endless(0.0), began);
            assert_eq!(farewells.endless(1.0), began + spread);
        }
    }
}
