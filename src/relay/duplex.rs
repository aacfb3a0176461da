//! The loop of a connection that has switched protocols: bytes both ways until both sides are done.
//!
//! As in [`super::drive`]: one task, and a side is read only while nothing waits for the other.

mod farewell;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::drive::Surroundings;
use super::websocket::{Due, PING_FRAME_BYTES, Seen, Side, WebSocket};
use crate::client::{Client, poll_read};
use crate::clock;
use crate::config::model::SlowClient;
use crate::live::reason::CloseReason;
use crate::outbox::Outbox;
use crate::scratch::{self, Scratch};
use crate::telemetry::meter::Meter;
use crate::ws::close;

/// Turns before the worker's other exchanges get theirs.
const TURNS_PER_POLL: usize = 4;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: CloseReason,
    /// The close code that decided, if a close frame was sent by either.
    pub code: Option<u16>,
    /// Who sent it: `client`, `upstream` or `proxy`.
    pub closed_by: Option<&'static str>,
    /// When that was known; the upstream's connection was closed next.
    pub at: Instant,
}

/// What waits for one side, and since when it takes nothing.
#[derive(Default)]
#[repr(C)]
struct Toward {
    outbox: Outbox,
    unflushed: bool,
    /// Its other side is done and it was told so.
    fin_sent: bool,
    /// When the bytes were read that are being written.
    read_at: Option<Instant>,
    stalled_at: Option<Instant>,
}

/// A client, an upstream, and what they say to each other.
///
/// In the order in which a message needs it, as [`super::drive::Link`] is.
#[repr(C)]
pub struct Duplex<'a, U> {
    around: Surroundings<'a>,
    meter: &'a mut Meter,
    client: &'a mut Client,
    client_eof: bool,
    upstream_eof: bool,
    to_client: Toward,
    to_upstream: Toward,
    /// `None` for a protocol that is not understood.
    machine: Option<WebSocket>,
    upstream: U,
    /// When to say farewell, while the process drains.
    farewell_at: Option<Instant>,
    /// It was told to end before it had said farewell.
    last_call: bool,
}

impl<'a, U: AsyncRead + AsyncWrite + Unpin> Duplex<'a, U> {
    /// After the handshake: `greeting` is the 101 for the client, encoded, and `early` what the
    /// upstream has sent behind its own. What the client has sent early is in its inbox.
    pub fn new(
        around: Surroundings<'a>,
        meter: &'a mut Meter,
        (client, upstream): (&'a mut Client, U),
        machine: Option<WebSocket>,
        greeting: &[u8],
        early: &[u8],
    ) -> Self {
        client.alarm.silence();
        let mut to_client = Toward::default();
        to_client.outbox.push(greeting);
        let mut duplex = Self {
            around,
            meter,
            client,
            upstream,
            machine,
            to_client,
            to_upstream: Toward::default(),
            client_eof: false,
            upstream_eof: false,
            farewell_at: None,
            last_call: false,
        };
        duplex.begin(early);
        duplex
    }

    fn begin(&mut self, early: &[u8]) {
        let now = clock::now();
        let inbox = std::mem::take(&mut self.client.inbox);
        let mut out = Vec::new();
        self.pass(Side::Upstream, early, now, &mut out);
        self.to_client.outbox.push(&out);
        self.to_client.read_at = (!early.is_empty()).then_some(now);
        out.clear();
        self.pass(Side::Client, &inbox, now, &mut out);
        self.to_upstream.outbox.push(&out);
        self.arm_earlier();
    }

    /// Closes the upstream's connection; gives the measurements back.
    pub fn hang_up(self) -> &'a mut Meter {
        self.meter
    }

    /// Runs to the end.
    pub fn run(&mut self) -> impl Future<Output = Ended> {
        poll_fn(|cx| {
            scratch::with(|scratch| self.poll(cx, scratch)).map(|reason| self.end_of(reason))
        })
    }

    fn end_of(&mut self, reason: CloseReason) -> Ended {
        let at = clock::now();
        if let Some(since) = self.to_client.stalled_at {
            self.meter.stalled(at - since);
        }
        let ours = self.machine.as_ref().and_then(WebSocket::our_code);
        let said = self.machine.as_ref().and_then(WebSocket::close_code);
        match (ours, said) {
            (Some(code), _) => Ended { reason, code: Some(code), closed_by: Some("proxy"), at },
            (None, Some((code, side))) => Ended { reason, code, closed_by: Some(side.label()), at },
            (None, None) => Ended { reason, code: None, closed_by: None, at },
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<CloseReason> {
        if let Break(reason) = self.obey(cx) {
            return Poll::Ready(reason);
        }
        let now = clock::now();
        if self.client.alarm.is_due(now)
            && let Break(reason) = self.on_time(now)
        {
            return Poll::Ready(reason);
        }
        let mut came_at = Some(now);
        for turn in 1..=TURNS_PER_POLL {
            match self.turn(cx, scratch, came_at.take(), turn == TURNS_PER_POLL) {
                Break(reason) => return Poll::Ready(reason),
                Continue(true) => {}
                Continue(false) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        came_at: Option<Instant>,
        is_last: bool,
    ) -> ControlFlow<CloseReason, bool> {
        let mut moved = self.write(cx, Side::Client)? | self.write(cx, Side::Upstream)?;
        let both_eof = self.client_eof && self.upstream_eof;
        let over = both_eof || self.machine.as_ref().is_some_and(WebSocket::is_over);
        if over && self.is_flushed(Side::Client) && self.is_flushed(Side::Upstream) {
            return Break(self.verdict());
        }
        moved |= self.read(cx, scratch, Side::Upstream, came_at)?;
        // Once in any case: an upstream that never stops must not keep the client from its turn.
        if !moved || is_last {
            moved |= self.read(cx, scratch, Side::Client, came_at)?;
        }
        while !moved && self.client.alarm.poll(cx).is_ready() {
            moved = self.on_time(clock::now())?;
        }
        Continue(moved)
    }

    /// Why it is over when nobody else has said so.
    fn verdict(&self) -> CloseReason {
        match &self.machine {
            None => CloseReason::Completed,
            Some(machine) => match machine.ending() {
                Some(reason) => reason,
                None if machine.close_code().is_some() => CloseReason::Completed,
                None => CloseReason::ClientClosed,
            },
        }
    }

    // === Bytes ===

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        side: Side,
        came_at: Option<Instant>,
    ) -> ControlFlow<CloseReason, bool> {
        let done = if side == Side::Client { self.client_eof } else { self.upstream_eof };
        let blocked = !self.is_flushed(side.other());
        if let Some(machine) = self.machine.as_mut().filter(|m| m.is_paused(side) != blocked) {
            machine.pause(side, blocked, clock::now());
            self.arm_earlier();
        }
        if done || blocked {
            return Continue(false);
        }
        let polled = match side {
            Side::Client => self.client.poll_read(cx, &mut scratch.read),
            Side::Upstream => poll_read(&mut self.upstream, cx, &mut scratch.read),
        };
        let count = match polled {
            Poll::Pending => return Continue(false),
            Poll::Ready(Ok(count)) if count > 0 => count,
            Poll::Ready(ended) => return self.ended(side, ended.is_err()),
        };
        let now = came_at.unwrap_or_else(clock::now);
        self.pass(side, &scratch.read[..count], now, &mut scratch.out);
        if scratch.out.is_empty() {
            // A pong that is swallowed is passed on to nobody: its time would be that of the next
            // ping, and look like a delay of ours.
            return Continue(true);
        }
        self.toward(side.other()).read_at = Some(now);
        // From the thread's buffer straight to the socket.
        let taken = match self.poll_write(cx, side.other(), &scratch.out) {
            Poll::Pending => 0,
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => {
                // Or they would go to whoever is written to next.
                scratch.out.clear();
                return self.unwritable(side.other(), &error);
            }
        };
        let toward = self.toward(side.other());
        toward.unflushed = true;
        if taken < scratch.out.len() {
            toward.outbox.push(&scratch.out[taken..]);
        }
        scratch.out.clear();
        self.write(cx, side.other())?;
        Continue(true)
    }

    /// What came from `side`, as it goes to the other.
    fn pass(&mut self, side: Side, bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        let before = out.len();
        let meter = &mut *self.meter;
        let read = match &mut self.machine {
            Some(machine) => machine.read(side, bytes, now, out, |seen| count(meter, seen, now)),
            None => {
                out.extend_from_slice(bytes);
                Ok(false)
            }
        };
        // What is swallowed is nobody's.
        match (side, (out.len() - before) as u64) {
            (_, 0) => {}
            (Side::Client, passed) => self.meter.request_bytes(passed),
            (Side::Upstream, passed) => self.meter.body_read(passed, 0, now),
        }
        match read {
            Ok(false) => {}
            Ok(true) => self.arm_earlier(),
            Err(violation) => {
                // What was good goes first.
                self.toward(side.other()).outbox.push(out);
                out.clear();
                let text = format!("{} broke the protocol", side.label());
                self.end(CloseReason::ProtocolError, violation.close_code(), &text);
            }
        }
    }

    fn ended(&mut self, side: Side, by_reset: bool) -> ControlFlow<CloseReason, bool> {
        let said = match &mut self.machine {
            Some(machine) => machine.eof(side, clock::now()) || machine.ending().is_some(),
            None => true,
        };
        match side {
            Side::Client => {
                self.client_eof = true;
                if by_reset && !said {
                    return Break(CloseReason::ClientClosed);
                }
            }
            Side::Upstream => {
                self.upstream_eof = true;
                // It may end as the client did; that is no failure.
                if !said && !self.client_eof {
                    let reason =
                        if by_reset { CloseReason::UpstreamReset } else { CloseReason::Truncated };
                    self.end(reason, close::INTERNAL_ERROR, "upstream failed");
                }
            }
        }
        self.arm_earlier();
        Continue(true)
    }

    fn write(&mut self, cx: &mut Context<'_>, side: Side) -> ControlFlow<CloseReason, bool> {
        let other_eof = if side == Side::Client { self.upstream_eof } else { self.client_eof };
        if !other_eof && self.is_flushed(side) {
            return Continue(false);
        }
        let mut moved = false;
        while !self.toward(side).outbox.is_empty() {
            let outbox = std::mem::take(&mut self.toward(side).outbox);
            let polled = self.poll_write(cx, side, outbox.rest());
            let toward = self.toward(side);
            toward.outbox = outbox;
            match polled {
                Poll::Pending => {
                    self.stalls(side, moved);
                    return Continue(moved);
                }
                Poll::Ready(Ok(count)) if count > 0 => {
                    moved = true;
                    toward.unflushed = true;
                    toward.outbox.take(count);
                }
                Poll::Ready(written) => {
                    let error = written.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    return self.unwritable(side, &error);
                }
            }
        }
        if self.toward(side).unflushed {
            let flushed = match side {
                Side::Client => self.client.poll_flush(cx),
                Side::Upstream => Pin::new(&mut self.upstream).poll_flush(cx),
            };
            match flushed {
                Poll::Pending => {
                    self.stalls(side, false);
                    return Continue(moved);
                }
                Poll::Ready(Err(error)) => return self.unwritable(side, &error),
                Poll::Ready(Ok(())) => self.took_all(side),
            }
        }
        self.pass_fin(cx, side);
        Continue(moved)
    }

    /// A side takes nothing, or `some` and not all.
    fn stalls(&mut self, side: Side, some: bool) {
        // A client that is behind is late whatever it takes, if the route says so.
        let counts = side == Side::Upstream
            || self.around.rules.stream.slow_client == SlowClient::Backpressure;
        if self.toward(side).stalled_at.is_some() && !(some && counts) {
            return;
        }
        let now = clock::now();
        self.toward(side).stalled_at = Some(now);
        if side == Side::Client {
            if some {
                self.meter.client_took(false, now);
            }
            self.meter.client_stalls(now);
            self.client.allow_stall(self.around.rules.stream.slow_client_timeout);
        }
        self.arm_earlier();
    }

    fn took_all(&mut self, side: Side) {
        let toward = self.toward(side);
        toward.unflushed = false;
        let (stalled_at, read_at) = (toward.stalled_at.take(), toward.read_at.take());
        let now = clock::now();
        if side == Side::Client {
            self.meter.client_took(true, now);
        }
        if let Some(read_at) = read_at {
            self.meter.written(read_at, stalled_at.is_some(), now);
        }
        if let (Some(since), Side::Client) = (stalled_at, side) {
            self.meter.stalled(now - since);
        }
    }

    /// Tells a side that the other one has closed its half.
    fn pass_fin(&mut self, cx: &mut Context<'_>, side: Side) {
        let other_is_done = match side {
            Side::Client => self.upstream_eof,
            Side::Upstream => self.client_eof,
        };
        if !other_is_done || self.toward(side).fin_sent {
            return;
        }
        let shut = match side {
            Side::Client => self.client.poll_shutdown(cx),
            Side::Upstream => Pin::new(&mut self.upstream).poll_shutdown(cx),
        };
        if shut.is_ready() {
            self.toward(side).fin_sent = true;
        }
    }

    fn unwritable(&mut self, side: Side, error: &io::Error) -> ControlFlow<CloseReason, bool> {
        match side {
            Side::Client => Break(match self.verdict() {
                CloseReason::Completed if self.machine.is_some() => CloseReason::Completed,
                _ => CloseReason::of_failed_write(error),
            }),
            Side::Upstream => {
                self.to_upstream = Toward { fin_sent: true, ..Toward::default() };
                Continue(true)
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match side {
            Side::Client => self.client.poll_write(cx, bytes),
            Side::Upstream => Pin::new(&mut self.upstream).poll_write(cx, bytes),
        }
    }

    fn toward(&mut self, side: Side) -> &mut Toward {
        match side {
            Side::Client => &mut self.to_client,
            Side::Upstream => &mut self.to_upstream,
        }
    }

    fn is_flushed(&self, side: Side) -> bool {
        let toward = match side {
            Side::Client => &self.to_client,
            Side::Upstream => &self.to_upstream,
        };
        toward.outbox.is_empty() && !toward.unflushed
    }

    // === Time ===

    fn on_time(&mut self, now: Instant) -> ControlFlow<CloseReason, bool> {
        self.client.alarm.silence();
        if self.farewell_at.is_some_and(|at| at <= now) {
            self.farewell_at = None;
            self.farewell();
            self.arm_earlier();
            return Continue(true);
        }
        let rules = self.around.rules;
        let late = |since: Option<Instant>, limit: Option<Duration>| {
            since.zip(limit).is_some_and(|(since, limit)| since + limit <= now)
        };
        if late(self.to_client.stalled_at, rules.stream.slow_client_timeout) {
            return Break(CloseReason::SlowClient);
        }
        if late(self.to_upstream.stalled_at, rules.timeouts.send) {
            return Break(CloseReason::SendTimeout);
        }
        let Some(machine) = &mut self.machine else {
            self.arm_earlier();
            return Continue(false);
        };
        let due = machine.due(&rules.websocket, rules.timeouts.max_duration, now);
        let moved = match due {
            Due::Nothing => false,
            Due::Cut if self.to_client.outbox.is_empty() => return Break(self.verdict()),
            // A slow client may read what it is owed; its own deadline runs.
            Due::Cut => {
                machine.postpone(now);
                false
            }
            Due::Ping(side) => self.ping(side, now),
            Due::End(reason) => {
                if let Some(side) = machine.silent_side(&rules.websocket, now)
                    && reason == CloseReason::PongTimeout
                {
                    self.meter.missed_pong(side == Side::Client);
                }
                self.end(reason, code_of(reason), reason.row().label);
                true
            }
        };
        self.arm_earlier();
        Continue(moved)
    }

    fn ping(&mut self, side: Side, now: Instant) -> bool {
        let Some(machine) = &mut self.machine else { return false };
        let toward = match side {
            Side::Client => &mut self.to_client,
            Side::Upstream => &mut self.to_upstream,
        };
        let mut placed = false;
        // Never queued behind a write that is stuck.
        if toward.outbox.is_empty() {
            toward.outbox.push_with(|out| placed = machine.push_ping(side, now, out));
        }
        if placed {
            self.meter.heartbeat(if side == Side::Client { PING_FRAME_BYTES } else { 0 });
        } else {
            machine.skip_ping(side, now);
        }
        placed
    }

    /// Ends it by our will.
    fn end(&mut self, reason: CloseReason, code: u16, text: &str) {
        let Some(machine) = &mut self.machine else { return };
        let (mut to_client, mut to_upstream) = (Vec::new(), Vec::new());
        machine.end(reason, code, text, clock::now(), (&mut to_client, &mut to_upstream));
        self.meter.own_bytes(to_client.len() as u64);
        self.to_client.outbox.push(&to_client);
        self.to_upstream.outbox.push(&to_upstream);
        self.arm_earlier();
    }

    fn arm_earlier(&mut self) {
        let rules = self.around.rules;
        let machine = self.machine.as_ref();
        let due = machine.and_then(|m| m.next(&rules.websocket, rules.timeouts.max_duration));
        let stall = |toward: &Toward, limit: Option<Duration>| {
            toward.stalled_at.zip(limit).map(|(since, limit)| since + limit)
        };
        let next = [
            due,
            self.farewell_at,
            stall(&self.to_client, rules.stream.slow_client_timeout),
            stall(&self.to_upstream, rules.timeouts.send),
        ];
        if let Some(next) = next.into_iter().flatten().min() {
            self.client.alarm.ring_by(next);
        }
    }
}

fn count(meter: &mut Meter, (side, opcode, fin): Seen, now: Instant) {
    meter.frame(side == Side::Client, opcode, fin, now);
}

/// RFC 6455 §7.4.1: what the close code says about a reason of ours.
fn code_of(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::MaxDuration => close::POLICY,
        CloseReason::ProtocolError => close::PROTOCOL_ERROR,
        CloseReason::IdleTimeout | CloseReason::Drained => close::GOING_AWAY,
        _ => close::INTERNAL_ERROR,
    }
}
