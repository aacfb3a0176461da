//! The one loop that does the IO of an exchange.
//!
//! One task, no channel, no lock: both directions are polled in turn. A side is read only while
//! nothing waits to be written to the other; that is the back-pressure, and each direction moves
//! alone.
//!
//! A [`Link`] outlives its upstream connection: until the response has begun, the request can be
//! sent again on another one, while the client is watched all the time.

mod down;
mod farewell;
mod up;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};

use self::farewell::Parting;
use super::download::Download;
use super::gate::{Gate, Look};
use super::timers::{Due, Timers};
use super::upload::Upload;
use crate::client::{Client, LOOK_EVERY};
use crate::clock;
use crate::config::model::Proxy;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::live::reason::CloseReason;
use crate::live::registry::Entry;
use crate::outbox::Outbox;
use crate::scratch::{self, Scratch};
use crate::sse::dialect::Failure;
use crate::telemetry::meter::Meter;

/// Turns before the worker's other exchanges get theirs: a quarter of a megabyte each way. A flood
/// could go on for ever otherwise, since there is always more to read.
const TURNS_PER_POLL: usize = 4;

/// What the loop comes back with.
#[derive(Debug)]
pub enum Event {
    /// A response head, interim or final. Call [`Link::interim`], [`Link::begin`] or
    /// [`Link::join`] next, or detach the upstream.
    Head {
        /// The head.
        head: Box<ResponseHead>,
        /// When it came.
        came_at: Instant,
    },
    /// The time is over for which the true status is held; comes again when the request is
    /// complete, if it was not. Call [`Link::begin_early`] or nothing.
    Commit,
    /// It is over, or its upstream is.
    End(End),
}

/// What an exchange needs of an upstream connection.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Whether the other end has acknowledged everything that was written, as far as is known.
    fn is_acknowledged(&self) -> bool;

    /// What is written from now on is what matters: all before it is of no use by itself.
    fn mark(&mut self);
}

/// How an upstream connection was lost.
#[derive(Debug)]
pub enum Loss {
    /// The other end closed it.
    Closed,
    /// Reading or writing failed.
    Failed(io::Error),
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: CloseReason,
    /// It is the client who broke the rules.
    pub client_to_blame: bool,
}

impl End {
    /// Whether the client has to be told that its response is broken, and can be: it is not its
    /// own fault, and nothing has been said to it.
    pub fn is_to_be_told(self) -> bool {
        use CloseReason as R;
        let of_others = matches!(
            self.reason,
            R::Truncated
                | R::UpstreamReset
                | R::LateFailure
                | R::FirstByteTimeout
                | R::FirstEventTimeout
                | R::IdleTimeout
                | R::SendTimeout
                | R::MaxDuration
                | R::Killed
                | R::ProtocolError
        );
        of_others && !self.client_to_blame
    }
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self { reason, client_to_blame: false }
    }
}

/// What surrounds an exchange.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The route's rules.
    pub rules: &'a Proxy,
    /// Where to listen for the order to end.
    pub entry: &'a Entry,
}

/// A client, and the exchange between it and an upstream connection.
///
/// In the order in which an event needs it, and last what it does not: between two events of a
/// stream, others have used the processor's caches, so that what counts is how many of their lines
/// it touches.
#[repr(C)]
pub struct Link<'a, U> {
    around: Surroundings<'a>,
    meter: &'a mut Meter,
    client: &'a mut Client,
    to_client: Outbox,
    to_upstream: Outbox,
    /// Upstream bytes behind a head.
    inbox: Vec<u8>,
    /// What has come of the next response head, while one is waited for.
    head: Option<Vec<u8>>,
    /// When the bytes in `to_client` were read, if that is still to be measured.
    read_at: Option<Instant>,
    /// When the client stopped taking bytes.
    stalled_at: Option<Instant>,
    /// When to look whether the client is there, while its stream is not read.
    look_at: Option<Instant>,
    /// How far the farewell is.
    parting: Parting,
    /// The exchange is over once the client has taken everything.
    ending: Option<End>,
    /// Then its body is whole, although the upstream's is not.
    ends_whole: bool,
    /// The client's stream may hold bytes that were written.
    unflushed: bool,
    /// So may the upstream's.
    upstream_unflushed: bool,
    /// The upstream takes no more of the request.
    upload_broken: bool,
    /// The upstream's connection carried nothing but this exchange.
    upstream_clean: bool,
    client_eof: bool,
    /// The client waits for the upstream's word before it sends the body.
    expects_continue: bool,
    /// The time to commit came before the whole request, which may say that it asks for a stream.
    commit_again: bool,
    /// What the upstream receives it acknowledges at once.
    acknowledges_at_once: bool,
    /// Something may be due before the alarm rings.
    arms_earlier: bool,
    timers: Timers,
    /// The response body, once the client's head was sent.
    body: Option<Download>,
    upstream: Option<U>,
    upload: Upload,
    /// Lets the head out by steps, if the upstream may be closing its connection.
    gate: Option<Box<Gate>>,
    /// How the upstream connection was lost: the first thing that happened.
    lost: Option<Loss>,
}

/// What is left when an exchange is over.
pub struct Rest<'a, U> {
    /// What surrounds it.
    pub around: Surroundings<'a>,
    /// Its measurements.
    pub meter: &'a mut Meter,
    /// The client.
    pub client: &'a mut Client,
    /// The upstream connection, if there is one.
    pub upstream: Option<U>,
    /// It can serve another request, as far as this exchange knows: both messages were complete
    /// and nothing came behind the response.
    pub upstream_is_clean: bool,
    /// The client's connection stands at the start of its next request.
    pub request_is_read: bool,
    /// What was written to the client ends in the middle of something.
    pub client_is_owed: bool,
    /// The client was told to come back, and has a whole body.
    pub said_farewell: bool,
    /// Upstream bytes behind its last head.
    pub early: Vec<u8>,
}

impl<'a, U: Wire> Link<'a, U> {
    /// For a client's request whose head was read; `expects_continue` says that the client waits
    /// for `100 Continue` before it sends the body.
    pub fn new(
        around: Surroundings<'a>,
        meter: &'a mut Meter,
        client: &'a mut Client,
        upload: Upload,
        expects_continue: bool,
    ) -> Self {
        client.alarm.silence();
        let mut timers = Timers::new(meter.began());
        timers.detached();
        if let Some(after) = around.rules.sse.commit_after {
            timers.hold_until(meter.began() + after);
        }
        Self {
            around,
            timers,
            meter,
            client,
            upstream: None,
            head: None,
            body: None,
            upload,
            to_client: Outbox::default(),
            to_upstream: Outbox::default(),
            gate: None,
            acknowledges_at_once: false,
            arms_earlier: true,
            unflushed: false,
            upstream_unflushed: false,
            read_at: None,
            stalled_at: None,
            look_at: None,
            inbox: Vec::new(),
            expects_continue,
            commit_again: false,
            upload_broken: false,
            lost: None,
            upstream_clean: true,
            client_eof: false,
            parting: Parting::Unasked,
            ending: None,
            ends_whole: false,
        }
    }

    /// Sends the request to `upstream`: its head, encoded, and what was taken of its body before.
    /// Nothing goes past `gate` until it opens.
    pub fn attach(&mut self, upstream: U, head: Vec<u8>, gate: Option<Gate>, now: Instant) {
        self.upstream = Some(upstream);
        self.head = Some(Vec::new());
        self.to_upstream.push_all(head);
        self.to_upstream.push_with(|out| self.upload.repeat(out));
        self.gate = gate.map(Box::new);
        self.timers.attached(now);
        self.arm_earlier();
    }

    /// Takes the upstream away; gives it with the way it was lost, if it was.
    pub fn detach(&mut self) -> (Option<U>, Option<Loss>) {
        self.head = None;
        self.inbox = Vec::new();
        self.to_upstream.clear();
        self.gate = None;
        self.acknowledges_at_once = false;
        self.upstream_unflushed = false;
        self.upload_broken = false;
        self.upstream_clean = true;
        self.timers.detached();
        (self.upstream.take(), self.lost.take())
    }

    /// The exchange's measurements.
    pub fn meter(&mut self) -> &mut Meter {
        self.meter
    }

    /// The request's body, as far as it has come and is kept.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Whether the end of the request's head has been kept back, so that nobody can have acted on
    /// it.
    pub fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Whether the upstream was seen to acknowledge at once what it receives.
    pub fn acknowledges_at_once(&self) -> bool {
        self.acknowledges_at_once
    }

    /// Whether the client waits for `100 Continue`.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether some of the next response head has come.
    pub fn answer_has_begun(&self) -> bool {
        self.head.as_ref().is_some_and(|head| !head.is_empty())
    }

    /// Passes on an interim response (or drops it, if `head` is empty) and waits for another head.
    pub fn interim(&mut self, head: Vec<u8>) {
        self.to_client.push_all(head);
        self.head = Some(Vec::new());
        // Whatever it was, the client need not wait for it any longer.
        self.expects_continue = false;
    }

    /// Begins the final response: its head, encoded for the client, and its body.
    ///
    /// Body bytes that came with the head go out in the same write.
    pub fn begin(&mut self, head: Vec<u8>, body: Download, now: Instant) {
        self.to_client.push_all(head);
        self.body = Some(body);
        self.head_is_read(now);
    }

    /// Begins the response before the upstream has: the upstream's body joins it later.
    pub fn begin_early(&mut self, head: Vec<u8>, body: Download) {
        self.to_client.push_all(head);
        self.timers.committed(body.has_heartbeats(), clock::now());
        self.body = Some(body);
        self.arm_earlier();
    }

    /// The upstream's body, framed so, joins a response that has begun early.
    pub fn join(&mut self, from: Framing, now: Instant) {
        if let Some(body) = &mut self.body {
            body.join(from);
        }
        self.head_is_read(now);
    }

    fn head_is_read(&mut self, now: Instant) {
        self.upload.forget();
        self.gate = None;
        self.head = None;
        let Some(body) = &self.body else { return };
        self.timers.head_read(body.has_heartbeats(), now);
        let inbox = std::mem::take(&mut self.inbox);
        if body.is_done() {
            self.ending = Some(CloseReason::Completed.into());
            self.upstream_clean &= inbox.is_empty();
        }
        // A body that joins may be over without a byte, and then its end has to be written.
        if self.ending.is_none() {
            let mut to_client = std::mem::take(&mut self.to_client);
            to_client.push_with(|out| self.decode(&inbox, out, now));
            self.to_client = to_client;
            self.read_at = (!inbox.is_empty()).then_some(now);
        }
        self.arm_earlier();
    }

    /// Tells the client of a failure as the last event of its stream, if that can be done; the
    /// exchange goes on until the client has it.
    pub fn fail(&mut self, failure: &Failure<'_>, end: End) -> bool {
        if end.reason == CloseReason::Killed && self.client_is_stuck() {
            return false;
        }
        let Some(body) = &mut self.body else { return false };
        let mut told = None;
        self.to_client.push_with(|out| told = body.push_error(failure, out));
        if let Some(bytes) = told {
            self.meter.own_bytes(bytes);
            self.timers.over();
            self.ending = Some(end);
        }
        told.is_some()
    }

    /// Runs until something has to be decided.
    pub fn event(&mut self) -> impl Future<Output = Event> {
        poll_fn(|cx| self.poll_event(cx))
    }

    /// The same, as far as it goes at once.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        scratch::with(|scratch| self.poll(cx, scratch))
    }

    /// Takes it apart.
    #[expect(
        clippy::boxed_local,
        reason = "a box lasts as long as its name, even if it was moved out of: here, not for hours"
    )]
    pub fn into_rest(self: Box<Self>) -> Rest<'a, U> {
        let complete = self.head.is_none() && self.body.as_ref().is_some_and(Download::is_done);
        let sent = self.upload.is_done() && self.to_upstream.is_empty() && !self.upload_broken;
        // The wait that was the stream's end is the longest of all.
        if let Some(since) = self.stalled_at {
            self.meter.stalled(clock::now().saturating_duration_since(since));
        }
        Rest {
            around: self.around,
            meter: self.meter,
            client: self.client,
            upstream: self.upstream,
            upstream_is_clean: complete && sent && self.upstream_clean,
            request_is_read: self.upload.is_done(),
            client_is_owed: !self.to_client.is_empty(),
            said_farewell: self.ends_whole && self.to_client.is_empty(),
            early: self.inbox,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Event> {
        if let Break(event) = self.obey(cx) {
            return Poll::Ready(event);
        }
        let now = clock::now();
        // Looked at first: a timer that waits until nothing moves waits for ever in a flood.
        if self.client.alarm.is_due(now)
            && let Break(event) = self.on_time(cx, &mut scratch.out, now)
        {
            return Poll::Ready(event);
        }
        // What is here already came now; to look at the clock once more for it would cost as much
        // as to scan it.
        let mut came_at = Some(now);
        for turn in 1..=TURNS_PER_POLL {
            match self.turn(cx, scratch, came_at.take(), turn == TURNS_PER_POLL) {
                Break(event) => return Poll::Ready(event),
                Continue(true) => {}
                Continue(false) => return Poll::Pending,
            }
        }
        self.set_alarm();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One look at everything; says whether anything moved. The client is listened to when nothing
    /// else moves, and in the last turn in any case.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        came_at: Option<Instant>,
        is_last: bool,
    ) -> ControlFlow<Event, bool> {
        let mut moved = self.write_client(cx)?;
        moved |= self.take_early(cx, scratch)?;
        moved |= self.write_upstream(cx);
        if self.to_client.is_empty() && !self.unflushed {
            if let Some(end) = self.ending {
                return Break(Event::End(end));
            }
            moved |= self.read_upstream(cx, scratch, came_at)?;
            moved |= self.parting == Parting::Due && self.part(clock::now());
        }
        if !moved || is_last {
            moved |= self.read_client(cx, scratch)?;
        }
        if !moved {
            moved = self.poll_timers(cx, scratch)?;
        }
        Continue(moved)
    }

    fn poll_timers(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<Event, bool> {
        loop {
            self.set_alarm();
            if self.client.alarm.poll(cx).is_pending() {
                return Continue(false);
            }
            if self.on_time(cx, &mut scratch.out, clock::now())? {
                return Continue(true);
            }
        }
    }

    /// Does what is due, and silences the alarm; says whether anything was written.
    fn on_time(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> ControlFlow<Event, bool> {
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = Some(now + LOOK_EVERY);
            if self.client.has_left() {
                return Break(Event::End(CloseReason::ClientClosed.into()));
            }
        }
        let opens = self.look_at_gate(now)?;
        let due = self.timers.due(self.around.rules, now);
        match due {
            Due::Heartbeat => self.timers.heartbeat_done(now),
            Due::Commit => {
                self.timers.held();
                self.commit_again = !self.upload.is_done();
            }
            Due::Nothing | Due::End(_) => {}
        }
        let parts = self.part(now);
        self.client.alarm.silence();
        self.arm_earlier();
        match due {
            Due::Commit => Break(Event::Commit),
            Due::End(reason) => Break(Event::End(reason.into())),
            Due::Heartbeat => {
                let moved = self.heartbeat(cx, out)?;
                Continue(moved || opens || parts)
            }
            Due::Nothing => Continue(opens || parts),
        }
    }

    /// Looks whether the upstream reads; says whether the gate has opened.
    fn look_at_gate(&mut self, now: Instant) -> ControlFlow<Event, bool> {
        let (Some(gate), Some(upstream)) = (&mut self.gate, &mut self.upstream) else {
            return Continue(false);
        };
        if gate.look_at().is_none_or(|at| at > now) {
            return Continue(false);
        }
        match gate.look(upstream.is_acknowledged(), now) {
            Look::Wait => Continue(false),
            Look::Stale => Break(Event::End(CloseReason::UpstreamReset.into())),
            Look::Write => Continue(true),
            Look::Open { at_once } => {
                upstream.mark();
                self.acknowledges_at_once = at_once;
                self.gate = None;
                Continue(true)
            }
        }
    }

    /// Begins or ends looking after a client whose stream is not read.
    fn look_after_client(&mut self, unread: bool) {
        if unread == self.look_at.is_some() {
            return;
        }
        self.look_at = unread.then(|| clock::now() + LOOK_EVERY);
        self.arm_earlier();
    }

    /// Something may be due before the alarm rings. Later is left alone: when it rings it is set
    /// anew, so a stream sets it once per silence rather than once per event.
    fn arm_earlier(&mut self) {
        self.arms_earlier = true;
    }

    /// Sets the alarm to what is due next; called before the task waits.
    fn set_alarm(&mut self) {
        if !std::mem::take(&mut self.arms_earlier) {
            return;
        }
        let due = self.timers.next(self.around.rules);
        let gate = self.gate.as_deref().and_then(Gate::look_at);
        let parting = self.parting.at();
        let next = due.into_iter().chain(self.look_at).chain(gate).chain(parting).min();
        if let Some(next) = next {
            self.client.alarm.ring_by(next);
        }
    }
}
