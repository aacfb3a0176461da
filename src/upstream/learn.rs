//! After how long an upstream closes idle connections itself, learned from watching it do so. Pure.
//!
//! A request that is sent while the upstream closes is lost. So we close first: this says when.
//! uvicorn closes after 5 s; Node after 5 s in old versions, and after 6 s since it adds a second
//! to what it announces (nodejs/node#59243 made that second an option).
//!
//! **A restart is no timeout.** It closes all idle connections whatever their age, and "3 ms",
//! learned from that, would make the pool useless. So:
//!
//! - Ages under half a second are never believed.
//! - Closes within a tenth of a second are one event. If their ages differ it was a restart, and
//!   none of them counts; a timeout finds each connection at the same age.
//! - Connections that went idle together have the same age in a restart, too. So an event counts
//!   only if the one before it agrees, and is at least a second older.
//!
//! Two restarts in a row that find their connections at the same age deceive us; this makes the
//! pool less useful for an hour, and loses nothing.
//!
//! **What was learned hides its own proof**: from then on we close first, so a close at that age is
//! not seen again, whether the upstream still does so or not. Keeping it for ever would keep a
//! mistake, or a setting long changed, for ever. Forgetting it costs requests that meet the close.
//! So it lapses after an hour and becomes a suspicion: a single close that agrees brings it back,
//! and it then holds twice as long, up to a day. That is one exposed connection after an hour,
//! after three, after seven, then daily; and those requests are the ones that can be replayed.

use std::time::{Duration, Instant};

/// Nobody closes idle connections so early on purpose.
const SHORTEST: Duration = Duration::from_millis(500);

/// A request on a connection that was idle for as long may meet its close. Sooner only where that
/// was seen lately: believed or not, it costs such requests no more than a step at their begin.
const SUSPICIOUS: Duration = Duration::from_millis(400);

/// Whoever closes so soon does it with an answer (the last one of a connection, say), and not
/// because nothing came.
const AT_ONCE: Duration = Duration::from_millis(5);

/// How long a close that came sooner is remembered for that.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Closes within this are one event: a process that ends closes all at once, and we may be told
/// one after the other.
const EVENT: Duration = Duration::from_millis(100);

/// Two events this far apart are not one that was slow to arrive.
const APART: Duration = Duration::from_secs(1);

/// What was learned holds for so long at first …
const HOLDS_AT_FIRST: Duration = Duration::from_secs(60 * 60);
/// … and at most.
const HOLDS_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// What one endpoint taught.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    fact: Option<Fact>,
    /// The last event that was no restart and did not agree with `fact`.
    before: Option<Event>,
    /// The event that may not be over yet.
    current: Option<Event>,
    /// Half of the shortest time after which one was closed sooner than [`SUSPICIOUS`], and when
    /// that was seen last.
    hasty: Option<(Duration, Instant)>,
}

/// Closes that belong together.
#[derive(Debug, Clone, Copy)]
struct Event {
    /// When the first of them came.
    at: Instant,
    shortest: Duration,
    longest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Fact {
    idle: Duration,
    /// Since when, and for how long, it holds.
    since: Instant,
    holds: Duration,
}

impl Learned {
    /// Nothing learned.
    pub fn new() -> Self {
        Self::default()
    }

    /// The upstream closed a connection that had been idle for `idle`: from the end of its last
    /// exchange until now. Only for those that are watched, and not for those that we closed.
    pub fn closed(&mut self, idle: Duration, now: Instant) {
        if idle < AT_ONCE {
            return;
        }
        if idle < SUSPICIOUS {
            let shortest = self.suspicious(now).min(idle / 2);
            self.hasty = Some((shortest, now));
        }
        let is_over = |event: &mut Event| now.saturating_duration_since(event.at) >= EVENT;
        if let Some(event) = self.current.take_if(is_over) {
            self.judge(&event);
        }
        let event = self.current.get_or_insert(Event { at: now, shortest: idle, longest: idle });
        event.shortest = event.shortest.min(idle);
        event.longest = event.longest.max(idle);
    }

    /// After how long the upstream closes, as far as that is known.
    pub fn shortest(&self, now: Instant) -> Option<Duration> {
        let fact = match self.current {
            // The last event counts at once, but not for good: it may turn out to be a restart.
            Some(event) => {
                let mut judged = self.clone();
                judged.judge(&event);
                judged.fact
            }
            None => self.fact,
        };
        fact.filter(|fact| fact.holds(now)).map(|fact| fact.idle)
    }

    /// How long to keep an idle connection, so that a request sent at the last moment arrives
    /// before the upstream closes: a tenth less than [`Learned::shortest`], but at least 250 ms for
    /// the way there and a busy machine. That is never less than half: 500 ms is the shortest.
    pub fn limit(&self, now: Instant) -> Option<Duration> {
        let shortest = self.shortest(now)?;
        let margin = (shortest / 10).max(Duration::from_millis(250));
        Some(shortest.saturating_sub(margin))
    }

    /// How long a connection must have been idle for its upstream to be closing it just now.
    pub fn suspicious(&self, now: Instant) -> Duration {
        let lately =
            |(_, at): &(Duration, Instant)| now.saturating_duration_since(*at) < REMEMBERED;
        self.hasty.filter(lately).map_or(SUSPICIOUS, |(half, _)| half)
    }

    /// Draws the conclusions from an event.
    fn judge(&mut self, event: &Event) {
        if event.shortest < SHORTEST || !agree(event.shortest, event.longest) {
            return;
        }
        if let Some(fact) = &mut self.fact
            && agree(fact.idle, event.shortest)
        {
            return fact.confirm(event);
        }
        match self.before {
            Some(before) if agree(before.shortest, event.shortest) => {
                // The older one stays until there is one far enough from it.
                if event.at.saturating_duration_since(before.at) >= APART {
                    self.learn(before.shortest.min(event.shortest), event.at);
                }
            }
            _ => self.before = Some(*event),
        }
    }

    fn learn(&mut self, idle: Duration, at: Instant) {
        // A longer time beside one that holds: those connections were idle before we knew.
        if self.fact.is_none_or(|fact| idle < fact.idle || !fact.holds(at)) {
            self.fact = Some(Fact { idle, since: at, holds: HOLDS_AT_FIRST });
        }
    }
}

impl Fact {
    fn holds(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.holds
    }

    /// A close agrees with it.
    fn confirm(&mut self, event: &Event) {
        if !self.holds(event.at) {
            self.holds = (self.holds * 2).min(HOLDS_AT_MOST);
        }
        self.since = event.at;
        self.idle = self.idle.min(event.shortest);
    }
}

/// Whether two ages are the same but for timers and scheduling: within 5 % and 50 ms.
fn agree(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= one.max(other) / 20 + Duration::from_millis(50)
}

#[cfg(test)]
mod tests;
