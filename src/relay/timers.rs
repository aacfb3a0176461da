//! The clocks of an exchange: what is due, and when to look next.

use std::time::{Duration, Instant};

use crate::config::model::{Proxy, SlowClient};
use crate::live::reason::CloseReason;

/// How far a request may fall behind its rate where `slow_client_timeout` is off.
const PACE_GRACE: Duration = Duration::from_secs(60);

/// What the exchange waits for, since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For a place at an endpoint and a connection to it, which have deadlines of their own.
    Place,
    /// The rest of the request, from the client.
    Request(Instant),
    /// The request is sent, no head yet.
    Head(Instant),
    /// A head, no body byte yet.
    FirstEvent(Instant),
    /// Between two bytes.
    Next(Instant),
}

/// What has to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// A heartbeat, if one may be written.
    Heartbeat,
    /// The response may begin although the upstream has not answered.
    Commit,
    /// The exchange is over.
    End(CloseReason),
}

/// All clocks of one exchange. Durations are those of its route. First those that every event sets
/// or asks for, as in [`super::drive::Link`].
#[derive(Debug)]
#[repr(C)]
pub struct Timers {
    waiting: Waiting,
    /// The last byte written to the client, or the last look at a heartbeat that could not be
    /// written; none where there are no heartbeats.
    quiet_since: Option<Instant>,
    /// Bytes for the upstream that it has not taken.
    upstream_stalled: Option<Instant>,
    /// Bytes for the client that it has not taken.
    client_stalled: Option<Instant>,
    began: Instant,
    /// When the response may begin without the upstream.
    commit_at: Option<Instant>,
    /// Only the client is waited for any more.
    over: bool,
    /// What the client's turns to send its request have brought.
    request: Pace,
}

/// How quickly a request comes, while it is the client's turn.
#[derive(Debug)]
struct Pace {
    /// When it began, moved on by the time when it was somebody else's turn.
    since: Instant,
    bytes: u64,
    /// Since when it is somebody else's turn.
    paused: Option<Instant>,
}

impl Pace {
    fn new(since: Instant) -> Self {
        Self { since, bytes: 0, paused: None }
    }

    fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    fn resume(&mut self, now: Instant) {
        if let Some(paused) = self.paused.take() {
            self.since += now.saturating_duration_since(paused);
        }
    }

    /// When the client is too late for that many bytes a second, beyond `grace`.
    fn late_at(&self, rate: u64, grace: Duration) -> Instant {
        self.since + grace + Duration::from_secs_f64(self.bytes as f64 / rate as f64)
    }
}

impl Timers {
    /// For an exchange that began then.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            waiting: Waiting::Request(began),
            quiet_since: None,
            commit_at: None,
            over: false,
            request: Pace::new(began),
            client_stalled: None,
            upstream_stalled: None,
        }
    }

    /// The response may begin at that time, whether or not the upstream has answered.
    pub fn hold_until(&mut self, at: Instant) {
        self.commit_at = Some(at);
    }

    /// It does not, or it has.
    pub fn held(&mut self) {
        self.commit_at = None;
    }

    /// There is no upstream to wait for.
    pub fn detached(&mut self) {
        self.waiting = Waiting::Place;
        self.upstream_stalled = None;
        self.request = Pace::new(self.began);
    }

    /// It is over but for the client, which has to take what is left.
    pub fn over(&mut self) {
        self.detached();
        self.over = true;
    }

    /// There is one: the request goes to it from the start.
    pub fn attached(&mut self, now: Instant) {
        self.waiting = Waiting::Request(now);
        self.request = Pace::new(now);
    }

    /// The response has begun without the upstream.
    pub fn committed(&mut self, heartbeats: bool, now: Instant) {
        self.commit_at = None;
        self.quiet_since = heartbeats.then_some(now);
    }

    /// Some of the request's body came from the client, and more is to come.
    pub fn request_read(&mut self, bytes: u64, now: Instant) {
        self.request.bytes += bytes;
        self.request.resume(now);
        if matches!(self.waiting, Waiting::Request(_) | Waiting::Head(_)) {
            self.waiting = Waiting::Request(now);
        }
    }

    /// It is the upstream's turn: the last byte of the request was written to it, or it was asked
    /// whether the client may continue.
    pub fn request_sent(&mut self, now: Instant) {
        if self.awaits_request() {
            self.request.pause(now);
            self.waiting = Waiting::Head(now);
        }
    }

    /// Whether it is the client's turn.
    pub fn awaits_request(&self) -> bool {
        matches!(self.waiting, Waiting::Request(_))
    }

    /// The final response head was read.
    pub fn head_read(&mut self, heartbeats: bool, now: Instant) {
        self.waiting = Waiting::FirstEvent(now);
        self.commit_at = None;
        self.quiet_since = heartbeats.then_some(now);
    }

    /// Body bytes were read from the upstream; they are written at once.
    pub fn body_read(&mut self, now: Instant) {
        self.waiting = Waiting::Next(now);
        if let Some(since) = &mut self.quiet_since {
            *since = now;
        }
    }

    /// A heartbeat was written, or was due and had no place.
    pub fn heartbeat_done(&mut self, now: Instant) {
        self.quiet_since = self.quiet_since.map(|_| now);
    }

    /// The client takes nothing. As long as that lasts nothing is read from the upstream, so
    /// nothing can be late there.
    pub fn client_stalls(&mut self, now: Instant) {
        self.client_stalled = Some(now);
    }

    /// It took some, but not all.
    pub fn client_took_some(&mut self, rules: &Proxy, now: Instant) {
        if rules.stream.slow_client == SlowClient::Backpressure {
            self.client_stalled = self.client_stalled.map(|_| now);
        }
    }

    /// The client took everything; what was waited for before is waited for anew.
    pub fn client_flows(&mut self, now: Instant) {
        if self.client_stalled.take().is_none() {
            return;
        }
        if let Waiting::Request(since)
        | Waiting::Head(since)
        | Waiting::FirstEvent(since)
        | Waiting::Next(since) = &mut self.waiting
        {
            *since = now;
        }
    }

    /// The upstream takes nothing; called again whenever it took some, but not all.
    pub fn upstream_stalls(&mut self, now: Instant) {
        self.request.pause(now);
        self.upstream_stalled = Some(now);
    }

    /// Whether the upstream owes us a read.
    pub fn upstream_is_stalled(&self) -> bool {
        self.upstream_stalled.is_some()
    }

    /// The upstream took everything.
    pub fn upstream_flows(&mut self, now: Instant) {
        if self.upstream_stalled.take().is_some() {
            self.request_read(0, now);
        }
    }

    /// What is due at `now`.
    pub fn due(&self, rules: &Proxy, now: Instant) -> Due {
        let ended = self.ends(rules).find(|(at, _)| *at <= now);
        if let Some((_, reason)) = ended {
            return Due::End(reason);
        }
        if self.commit_at.is_some_and(|at| at <= now) {
            return Due::Commit;
        }
        match self.heartbeat_at(rules) {
            Some(at) if at <= now && self.client_stalled.is_none() => Due::Heartbeat,
            _ => Due::Nothing,
        }
    }

    /// When to call [`Self::due`] next. Bytes that flow in the meantime only move it back.
    pub fn next(&self, rules: &Proxy) -> Option<Instant> {
        // A heartbeat is never queued behind a blocked write.
        let heartbeat = self.heartbeat_at(rules).filter(|_| self.client_stalled.is_none());
        self.ends(rules).map(|(at, _)| at).chain(heartbeat).chain(self.commit_at).min()
    }

    fn heartbeat_at(&self, rules: &Proxy) -> Option<Instant> {
        Some(self.quiet_since? + rules.sse.heartbeat?)
    }

    /// Every deadline that runs, with what it means to miss it.
    fn ends(&self, rules: &Proxy) -> impl Iterator<Item = (Instant, CloseReason)> {
        let limits = &rules.timeouts;
        let slow = rules.stream.slow_client_timeout;
        let waiting = match self.waiting {
            Waiting::Place => None,
            // Bytes that the upstream does not take are not the client's debt.
            Waiting::Request(_) if self.upstream_stalled.is_some() => None,
            Waiting::Request(since) => {
                let grace = slow.unwrap_or(PACE_GRACE);
                let pace = rules.stream.min_request_rate;
                let pace = pace.map(|rate| self.request.late_at(rate, grace));
                let late = slow.map(|slow| since + slow).into_iter().chain(pace).min();
                late.map(|late| (late, CloseReason::SlowClient))
            }
            Waiting::Head(since) => at(since, limits.first_byte, CloseReason::FirstByteTimeout),
            Waiting::FirstEvent(since) => {
                at(since, limits.first_event, CloseReason::FirstEventTimeout)
            }
            Waiting::Next(since) => at(since, limits.idle, CloseReason::IdleTimeout),
        };
        let sending = self
            .upstream_stalled
            .and_then(|since| at(since, limits.send, CloseReason::SendTimeout));
        let upstream = [waiting, sending].map(|end| end.filter(|_| self.client_stalled.is_none()));
        let [waiting, sending] = upstream;
        let client = self.client_stalled.and_then(|since| at(since, slow, CloseReason::SlowClient));
        let whole = at(self.began, limits.max_duration, CloseReason::MaxDuration);
        let whole = whole.filter(|_| !self.over);
        [waiting, sending, client, whole].into_iter().flatten()
    }
}

fn at(
    since: Instant,
    after: Option<Duration>,
    reason: CloseReason,
) -> Option<(Instant, CloseReason)> {
    Some((since + after?, reason))
}

#[cfg(test)]
mod tests;
