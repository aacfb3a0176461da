//! What is known of one exchange, while it runs and after: written by its task alone, read by
//! anybody.
//!
//! A byte or an event costs its task a few relaxed stores: no lock, no allocation, no look at the
//! clock. Whoever reads sees numbers that may be a moment apart from each other.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::kind::Kind;
use super::reason::CloseReason;

/// Who and what it is. All of it is known before anything moves.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The request id, as in the log. Clients may choose it, so two may share one.
    pub id: Box<str>,
    /// Name of the route.
    pub route: Arc<str>,
    /// Name of the upstream.
    pub upstream: Arc<str>,
    /// Whoever asks, if they have proved who they are.
    pub principal: Option<Arc<str>>,
    /// The client's address; none behind a unix socket.
    pub client: Option<IpAddr>,
    /// The client's version of HTTP.
    pub version: &'static str,
    /// When the request was read.
    pub started: SystemTime,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: CloseReason,
    /// The status that the client got, or 499.
    pub status: u16,
    /// Request read to end.
    pub duration: Duration,
}

/// Sums of one exchange.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes, heartbeats included: what the client gets.
    pub bytes_out: u64,
    /// Events from the upstream.
    pub events: u64,
    /// Heartbeats of our own.
    pub heartbeats: u64,
    /// Request read to first body byte written.
    pub first_byte: Option<Duration>,
}

/// A number that only goes up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// As it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One task writes, so that no locked instruction is needed.
    fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }
}

/// A time since the exchange began, in microseconds and one more; 0 is never.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

impl Moment {
    fn get(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    fn set(&self, at: Duration) {
        // `as_micros` counts in 128 bits.
        let seconds = at.as_secs().saturating_mul(1_000_000);
        let micros = seconds.saturating_add(at.subsec_micros().into());
        self.0.store(micros.saturating_add(1), Ordering::Relaxed);
    }

    fn unset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What every event changes, in one line of the processor's caches: between two events of a stream,
/// others have used those, so that each line that is touched has to be fetched from far away.
#[derive(Debug)]
#[repr(C, align(64))]
struct Flow {
    began: Instant,
    bytes_out: Count,
    events_out: Count,
    last_upstream: Moment,
    last_client: Moment,
    stalled: Moment,
    slowest_gap: Moment,
}

/// One exchange.
#[derive(Debug)]
pub struct Stream {
    flow: Flow,
    number: AtomicU64,
    identity: OnceLock<Identity>,
    /// Name of the endpoint; changes with each try, and never with an event.
    endpoint: Mutex<Option<Arc<str>>>,
    /// [`UNKNOWN`], or a kind's place in [`Kind::ALL`].
    kind: AtomicU8,
    /// A place in [`CONNECTIONS`].
    connection: AtomicU8,
    bytes_in: Count,
    events_in: Count,
    heartbeats: Count,
    connected: Moment,
    sent: Moment,
    head: Moment,
    first_byte: Moment,
    ended: OnceLock<End>,
    /// It is among those that are past.
    is_past: AtomicBool,
}

/// The kind before there is a response.
const UNKNOWN: u8 = u8::MAX;

/// What is said of its connection to the endpoint.
const CONNECTIONS: [Option<&str>; 3] = [None, Some("new"), Some("reused")];

/// What a [`Stream`] is like at a time. Times are since it began unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the accessors of `Stream` say it")]
pub struct Look {
    pub kind: Kind,
    pub connection: Option<&'static str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub events_in: u64,
    pub events_out: u64,
    pub heartbeats: u64,
    pub connected: Option<Duration>,
    pub sent: Option<Duration>,
    pub head: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub last_upstream: Option<Duration>,
    pub last_client: Option<Duration>,
    /// Since when the client takes nothing.
    pub stalled: Option<Duration>,
    /// The longest time between two reads of what the upstream sends, its head the first.
    pub slowest_gap: Duration,
    pub ended: Option<End>,
    /// How old it is, or was when it ended.
    pub age: Duration,
}

impl Stream {
    /// An exchange whose request was read then.
    pub fn new(began: Instant) -> Self {
        let flow = Flow {
            began,
            bytes_out: Count::default(),
            events_out: Count::default(),
            last_upstream: Moment::default(),
            last_client: Moment::default(),
            stalled: Moment::default(),
            slowest_gap: Moment::default(),
        };
        Self {
            flow,
            number: AtomicU64::new(0),
            identity: OnceLock::new(),
            endpoint: Mutex::default(),
            kind: AtomicU8::new(UNKNOWN),
            connection: AtomicU8::new(0),
            bytes_in: Count::default(),
            events_in: Count::default(),
            heartbeats: Count::default(),
            connected: Moment::default(),
            sent: Moment::default(),
            head: Moment::default(),
            first_byte: Moment::default(),
            ended: OnceLock::new(),
            is_past: AtomicBool::new(false),
        }
    }

    // === For its task ===

    /// Says who and what it is, once, and its number among all exchanges.
    pub fn identify(&self, number: u64, identity: Identity) {
        self.number.store(number, Ordering::Relaxed);
        // A second time would be about the same request.
        let _ = self.identity.set(identity);
    }

    /// The request goes to that endpoint.
    pub fn reached(&self, endpoint: Arc<str>, reused: bool, now: Instant) {
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
        self.connection.store(1 + u8::from(reused), Ordering::Relaxed);
        self.connected.set(self.since_began(now));
        self.sent.unset();
    }

    /// The whole request was written.
    pub fn sent(&self, now: Instant) {
        self.sent.set(self.since_began(now));
    }

    /// The upstream's head was read.
    pub fn answered(&self, now: Instant) {
        let at = self.since_began(now);
        self.head.set(at);
        self.flow.last_upstream.set(at);
    }

    /// The response has begun.
    pub fn opened(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    /// Request body bytes went up.
    pub fn went_up(&self, bytes: u64) {
        self.bytes_in.add(bytes);
    }

    /// Body bytes came from the upstream.
    pub fn came_down(&self, bytes: u64, events: u64, now: Instant) {
        self.flow.bytes_out.add(bytes);
        self.flow.events_out.add(events);
        let at = self.since_began(now);
        if let Some(last) = self.flow.last_upstream.get() {
            let gap = at.saturating_sub(last);
            if self.flow.slowest_gap.get().is_none_or(|slowest| gap > slowest) {
                self.flow.slowest_gap.set(gap);
            }
        }
        self.flow.last_upstream.set(at);
    }

    /// An event of the client's, or one of the upstream's whose bytes are counted elsewhere.
    pub fn event(&self, from_client: bool) {
        if from_client { &self.events_in } else { &self.flow.events_out }.add(1);
    }

    /// Bytes of our own went down.
    pub fn own_bytes(&self, bytes: u64) {
        self.flow.bytes_out.add(bytes);
    }

    /// A heartbeat or a ping was written.
    pub fn heartbeat(&self) {
        self.heartbeats.add(1);
    }

    /// The first body byte was written to the client.
    pub fn first_byte(&self, now: Instant) {
        self.first_byte.set(self.since_began(now));
    }

    /// The client took something: all that there was, or some.
    pub fn client_took(&self, all: bool, now: Instant) {
        self.flow.last_client.set(self.since_began(now));
        if all {
            self.flow.stalled.unset();
        }
    }

    /// The client takes nothing.
    pub fn client_stalls(&self, now: Instant) {
        self.flow.stalled.set(self.since_began(now));
    }

    /// It is over.
    pub fn ends(&self, end: End) {
        // The first reason is the reason.
        let _ = self.ended.set(end);
    }

    /// It has left the table. Called and asked with the lock of the past held.
    pub(super) fn leaves(&self) {
        self.is_past.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_past(&self) -> bool {
        self.is_past.load(Ordering::Relaxed)
    }

    // === For anybody ===

    /// Who and what it is; none if it was answered here.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// Its number among all exchanges of the process: unlike the id, no two share one.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// When its request was read.
    pub fn began(&self) -> Instant {
        self.flow.began
    }

    /// The endpoint that has it, or had it last.
    pub fn endpoint(&self) -> Option<Arc<str>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.ended.get().copied()
    }

    /// What came of the client, body and all.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// What went to the client.
    pub fn bytes_out(&self) -> u64 {
        self.flow.bytes_out.get()
    }

    /// The sums so far.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes_in: self.bytes_in(),
            bytes_out: self.bytes_out(),
            events: self.flow.events_out.get(),
            heartbeats: self.heartbeats.get(),
            first_byte: self.first_byte.get(),
        }
    }

    /// All numbers.
    pub fn look(&self, now: Instant) -> Look {
        let ended = self.ended();
        let kind = Kind::ALL.get(usize::from(self.kind.load(Ordering::Relaxed)));
        let connection = usize::from(self.connection.load(Ordering::Relaxed));
        Look {
            kind: kind.copied().unwrap_or(Kind::Http),
            connection: CONNECTIONS.get(connection).copied().flatten(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.flow.bytes_out.get(),
            events_in: self.events_in.get(),
            events_out: self.flow.events_out.get(),
            heartbeats: self.heartbeats.get(),
            connected: self.connected.get(),
            sent: self.sent.get(),
            head: self.head.get(),
            first_byte: self.first_byte.get(),
            last_upstream: self.flow.last_upstream.get(),
            last_client: self.flow.last_client.get(),
            stalled: self.flow.stalled.get(),
            slowest_gap: self.flow.slowest_gap.get().unwrap_or_default(),
            ended,
            age: ended.map_or_else(|| self.since_began(now), |end| end.duration),
        }
    }

    fn since_began(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.flow.began)
    }
}

/// What a stream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing has come from the upstream.
    Waiting,
    /// It flows.
    Streaming,
    /// Nothing has come from the upstream for longer than [`IDLE_AFTER`].
    Idle,
    /// The client has taken nothing of what it was given for longer than [`STALLED_AFTER`].
    Stalled,
    /// The process drains.
    Draining,
}

/// Silence of the upstream after which a stream is called idle.
pub const IDLE_AFTER: Duration = Duration::from_secs(5);

/// A client that takes nothing for so long has stopped reading; less is the network.
pub const STALLED_AFTER: Duration = Duration::from_secs(1);

impl State {
    /// All states; a state's place is its index.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Streaming, Self::Idle, Self::Stalled, Self::Draining];

    /// The name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Streaming => "streaming",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Draining => "draining",
        }
    }

    /// That of a stream in a process that drains, or does not. A client that has stopped reading
    /// is called so even then: that is why the process waits.
    pub fn of(look: &Look, draining: bool) -> Self {
        let since = |moment: Duration| look.age.saturating_sub(moment);
        let last_move = look.stalled.max(look.last_client);
        match (look.stalled.and(last_move), look.last_upstream) {
            (Some(moved), _) if since(moved) >= STALLED_AFTER => Self::Stalled,
            _ if draining && look.ended.is_none() => Self::Draining,
            (_, None) => Self::Waiting,
            (_, Some(heard)) if since(heard) > IDLE_AFTER => Self::Idle,
            _ => Self::Streaming,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn an_open_stream_costs_a_few_hundred_bytes() {
        let size = size_of::<Stream>();
        assert!(size <= 360, "{size}");
    }

    #[test]
    fn what_its_task_writes_is_what_others_read() {
        let (began, secs) = (clock::now(), Duration::from_secs);
        let stream = Stream::new(began);
        stream.reached("a".into(), false, began + secs(1));
        stream.sent(began + secs(1));
        stream.reached("b".into(), true, began + secs(2));
        assert_eq!(
            stream.look(began + secs(2)).sent,
            None,
            "it goes to another one from the start"
        );
        stream.answered(began + secs(3));
        stream.opened(Kind::Sse);
        stream.went_up(5);
        stream.came_down(100, 2, began + secs(7));
        stream.came_down(10, 1, began + secs(9));
        stream.event(true);
        stream.heartbeat();
        stream.own_bytes(9);
        stream.first_byte(began + secs(8));
        stream.client_took(true, began + secs(9));
        let look = stream.look(began + secs(10));
        let expected = Look {
            kind: Kind::Sse,
            connection: Some("reused"),
            bytes_in: 5,
            bytes_out: 119,
            events_in: 1,
            events_out: 3,
            heartbeats: 1,
            connected: Some(secs(2)),
            sent: None,
            head: Some(secs(3)),
            first_byte: Some(secs(8)),
            last_upstream: Some(secs(9)),
            last_client: Some(secs(9)),
            stalled: None,
            slowest_gap: secs(4),
            ended: None,
            age: secs(10),
        };
        assert_eq!(look, expected);
        assert_eq!(stream.endpoint().as_deref(), Some("b"));
        let end = End { reason: CloseReason::Killed, status: 200, duration: secs(11) };
        stream.ends(end);
        stream.ends(End { reason: CloseReason::Completed, ..end });
        let look = stream.look(began + secs(99));
        assert_eq!((look.ended, look.age), (Some(end), secs(11)));
    }

    #[test]
    fn states() {
        let (began, secs) = (clock::now(), Duration::from_secs);
        let stream = Stream::new(began);
        let state = |at, draining| State::of(&stream.look(began + secs(at)), draining);
        assert_eq!(state(60, false), State::Waiting);
        assert_eq!(state(60, true), State::Draining);
        stream.answered(began + secs(60));
        assert_eq!(state(60, false), State::Streaming);
        assert_eq!(state(65, false), State::Streaming);
        assert_eq!(state(66, false), State::Idle);
        stream.client_stalls(began + secs(66));
        assert_eq!(state(66, false), State::Idle);
        assert_eq!(state(67, false), State::Stalled);
        assert_eq!(state(67, true), State::Stalled);
        stream.client_took(false, began + secs(70));
        assert_eq!(state(70, false), State::Idle, "it takes some");
        assert_eq!(state(72, false), State::Stalled, "and no more");
        stream.client_took(true, began + secs(73));
        assert_eq!(state(75, false), State::Idle);
    }
}
