//! Whether one endpoint is fit to be picked, from how its exchanges and its health checks go. Pure.
//!
//! ```text
//!            failures in a row             its time is over, or
//!     ┌────┐ ─────────────────▶ ┌─────────┐ checks are good      ┌─────────┐
//!     │ Up │                    │ Ejected │ ───────────────────▶ │ OnTrial │
//!     │    │                    └─────────┘ ◀─────────────────── └─────────┘
//!     │    │                                  failed: for longer      │
//!     │    │ ◀────────────────────────────────────────────────────────┘
//!     │    │                             succeeded
//!     │    │ ◀──────────────── ┌──────┐
//!     └────┘  checks are good  │ Down │ ◀── checks are bad, in any state
//!                              └──────┘
//! ```
//!
//! **On trial** an endpoint gets one exchange at a time until one succeeds. A dead one costs one
//! request per ejection, and its empty seats do not draw everybody: to `least_streams` an endpoint
//! without streams looks like the best of all.
//!
//! **Ejections grow**: each is twice as long as the one before. Being up pays this back at the same
//! rate: once it was up for as long as its last ejection took, that one counts half, and so on. So
//! an endpoint that fails again and again is soon out for most of the time, and one that was out
//! once is forgiven after being up for twice as long.
//!
//! **Checks and exchanges**: bad checks overrule everything, since they cost no client anything.
//! Good checks end an ejection early, but only for a trial: there are model servers that answer
//! `/health` while their engine is dead.
//!
//! An exchange that began before an ejection may end during the trial; what it says counts like
//! the trial's own. At worst one exchange more is on trial, or one ejection starts too early.

use std::time::{Duration, Instant};

use crate::config::model;

/// How long an endpoint that could not be connected to is passed over, if there are others: about
/// the time until the kernel of a restarting one listens again, and short enough to cost nothing
/// when it was a mishap.
const AVOID_FOR: Duration = Duration::from_secs(1);

/// The state of one endpoint's health.
///
/// Each [`Health::picked`] is followed by exactly one of [`Health::succeeded`], [`Health::failed`]
/// and [`Health::abandoned`].
#[derive(Debug)]
pub struct Health {
    state: State,
    /// Exchanges that failed one after the other.
    failures: u32,
    /// How long the last ejection was, less what was paid back since. The next is twice as long.
    penalty: Duration,
    up_since: Option<Instant>,
    unreachable_at: Option<Instant>,
    checks: Checks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    /// Out, since then and for so long.
    Ejected {
        since: Instant,
        duration: Duration,
    },
    /// To prove itself; `taken` while its one exchange is under way.
    OnTrial {
        taken: bool,
    },
    /// Out until health checks say otherwise.
    Down,
}

/// Answers to health checks.
#[derive(Debug, Default)]
struct Checks {
    /// The last one was good; `None` before the first.
    last: Option<bool>,
    /// How many like it came one after the other, since the endpoint was ejected.
    row: u32,
}

/// A change that is worth a line in the log, and is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets its full share again.
    Up,
    /// Health checks took it out.
    Down,
    /// Failures took it out, or again after its trial.
    Ejected {
        /// For how long.
        duration: Duration,
    },
}

impl Default for Health {
    fn default() -> Self {
        Self {
            state: State::Up,
            failures: 0,
            penalty: Duration::ZERO,
            up_since: None,
            unreachable_at: None,
            checks: Checks::default(),
        }
    }
}

impl Health {
    /// Up, nothing held against it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes by other rules: what only an answer that nobody asks for any more could end is over.
    pub fn reconfigure(&mut self, rules: &model::Health, now: Instant) {
        if rules.active.is_none() {
            self.checks = Checks::default();
            if self.state == State::Down {
                self.rise(now);
            }
        }
        if rules.passive.failures == 0 && self.is_ejected() {
            self.rise(now);
        }
    }

    // === What may be done with it ===

    /// Whether it may be picked.
    pub fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Up => true,
            State::Ejected { since, duration } => now.saturating_duration_since(since) >= duration,
            State::OnTrial { taken } => !taken,
            State::Down => false,
        }
    }

    /// Whether it could not be connected to within the last second: it is picked only if there is
    /// no other.
    pub fn avoided(&self, now: Instant) -> bool {
        self.unreachable_at.is_some_and(|at| now.saturating_duration_since(at) < AVOID_FOR)
    }

    /// Whether failures took it out and it has not proved itself since: its trial included, lest
    /// all the others are ejected while it lasts. For [`may_eject`].
    pub fn is_ejected(&self) -> bool {
        matches!(self.state, State::Ejected { .. } | State::OnTrial { .. })
    }

    /// When an ejection ends; it may be past. `None` if it is not ejected.
    pub fn returns_at(&self) -> Option<Instant> {
        let State::Ejected { since, duration } = self.state else { return None };
        since.checked_add(duration)
    }

    /// When it came back; `None` if it was there from the start.
    pub fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    // === What exchanges say ===

    /// An exchange was sent there, because [`Health::admits`] said that it may.
    pub fn picked(&mut self, now: Instant) {
        if self.is_ejected() && self.admits(now) {
            self.state = State::OnTrial { taken: true };
        }
    }

    /// It could not be connected to. Says so besides [`Health::failed`], not instead of it.
    pub fn connect_failed(&mut self, now: Instant) {
        self.unreachable_at = Some(now);
    }

    /// An exchange was answered.
    pub fn succeeded(&mut self, now: Instant) -> Option<Change> {
        self.failures = 0;
        self.unreachable_at = None;
        match self.state {
            State::OnTrial { .. } => Some(self.rise(now)),
            // Sent before: it says nothing about the endpoint as it is.
            State::Up | State::Ejected { .. } | State::Down => None,
        }
    }

    /// An exchange failed by the endpoint's fault. `may_eject` is what [`may_eject`] says; if not,
    /// it stays, and the next failure asks again.
    pub fn failed(
        &mut self,
        rules: &model::PassiveHealth,
        may_eject: bool,
        now: Instant,
    ) -> Option<Change> {
        match self.state {
            State::Up => {
                self.failures = self.failures.saturating_add(1);
                let enough = rules.failures > 0 && self.failures >= rules.failures;
                (enough && may_eject).then(|| self.eject(rules, now))
            }
            // It counts among the ejected already.
            State::OnTrial { .. } => Some(self.eject(rules, now)),
            // One ejection for all that were there when it broke.
            State::Ejected { .. } | State::Down => None,
        }
    }

    /// An exchange ended without saying anything about the endpoint: its client left.
    pub fn abandoned(&mut self) {
        if let State::OnTrial { taken } = &mut self.state {
            *taken = false;
        }
    }

    // === What checks say ===

    /// A health check was answered, or not in time, or wrongly. The first ever decides at once.
    pub fn checked(
        &mut self,
        good: bool,
        rules: &model::ActiveHealth,
        now: Instant,
    ) -> Option<Change> {
        let decides = self.checks.note(good, rules);
        if good {
            self.unreachable_at = None;
        }
        match (self.state, good) {
            _ if !decides => None,
            (State::Down, true) => Some(self.rise(now)),
            (State::Ejected { .. }, true) => {
                self.state = State::OnTrial { taken: false };
                None
            }
            (State::Up | State::OnTrial { .. }, true) | (State::Down, false) => None,
            (State::Up | State::Ejected { .. } | State::OnTrial { .. }, false) => {
                self.pay_back(now);
                self.state = State::Down;
                Some(Change::Down)
            }
        }
    }

    // === Transitions ===

    fn rise(&mut self, now: Instant) -> Change {
        self.state = State::Up;
        self.failures = 0;
        self.up_since = Some(now);
        Change::Up
    }

    fn eject(&mut self, rules: &model::PassiveHealth, now: Instant) -> Change {
        self.pay_back(now);
        let doubled = self.penalty.saturating_mul(2);
        let duration = doubled.max(rules.eject_for).min(rules.max_eject_for);
        self.penalty = duration;
        self.checks.forget_good_ones();
        self.state = State::Ejected { since: now, duration };
        Change::Ejected { duration }
    }

    /// It stops being up, if it was: lets that time count.
    fn pay_back(&mut self, now: Instant) {
        let (State::Up, Some(since)) = (self.state, self.up_since) else { return };
        let mut paid = now.saturating_duration_since(since);
        // Halved to nothing in less than a hundred steps.
        while !self.penalty.is_zero() && paid >= self.penalty {
            paid -= self.penalty;
            self.penalty /= 2;
        }
    }
}

impl Checks {
    /// Counts an answer. Whether it decides: it is the first ever, or ends a row that is long
    /// enough.
    fn note(&mut self, good: bool, rules: &model::ActiveHealth) -> bool {
        let is_first = self.last.is_none();
        self.row = if self.last == Some(good) { self.row.saturating_add(1) } else { 1 };
        self.last = Some(good);
        let needed = if good { rules.healthy_after } else { rules.unhealthy_after };
        is_first || self.row >= needed
    }

    /// An endpoint was ejected in spite of good answers: only later ones may end that.
    fn forget_good_ones(&mut self) {
        if self.last == Some(true) {
            self.row = 0;
        }
    }
}

/// Whether one more of `total` endpoints may be ejected when `ejected` of them are: no more than
/// `max_percent` of all. With the usual 50 %, neither an only endpoint nor the second of two.
pub fn may_eject(ejected: usize, total: usize, max_percent: u32) -> bool {
    // u128: no product of these overflows.
    (ejected as u128 + 1) * 100 <= total as u128 * u128::from(max_percent)
}

#[cfg(test)]
mod tests;
