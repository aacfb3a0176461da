//! The one loop that does the IO of an exchange.
//!
//! One task, no channel, no lock: both directions are polled in turn. A side is read only while
//! nothing waits to be written to the other; that is the back-pressure, and each direction moves
//! alone.

mod down;
mod up;

use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use pingora::protocols::Stream;
use tokio::time::Sleep;

use super::client::{Client, LOOK_EVERY};
use super::download::Download;
use super::outbox::Outbox;
use super::scratch::{self, Scratch};
use super::timers::{Due, Timers};
use super::upload::Upload;
use crate::clock;
use crate::config::model::Proxy;
use crate::http1::head::ResponseHead;
use crate::live::reason::CloseReason;
use crate::live::registry::Entry;
use crate::telemetry::meter::Meter;

/// Turns before the worker's other exchanges get theirs: a quarter of a megabyte each way. A flood
/// could go on for ever otherwise, since there is always more to read.
const TURNS_PER_POLL: usize = 4;

/// What the loop comes back with.
#[derive(Debug)]
pub enum Event {
    /// A response head, interim or final. Call [`Link::interim`] or [`Link::begin`] next.
    Head(Box<ResponseHead>),
    /// It is over.
    End(End),
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: CloseReason,
    /// It is the client who broke the rules.
    pub client_to_blame: bool,
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self { reason, client_to_blame: false }
    }
}

/// Where the response stands.
enum Stage {
    /// Collecting a head.
    Head(Vec<u8>),
    /// Passing on the body.
    Body(Download),
}

/// What surrounds an exchange.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The route's rules.
    pub rules: &'a Proxy,
    /// Where to listen for the order to end.
    pub entry: &'a Entry,
}

/// What goes up: the head for the upstream, encoded, and the machine for the body.
pub struct Outgoing {
    /// The head.
    pub head: Vec<u8>,
    /// The body.
    pub body: Upload,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// A client and an upstream connection, and the exchange between them.
pub struct Link<'a> {
    around: Surroundings<'a>,
    meter: &'a mut Meter,
    client: &'a mut Client,
    upstream: Stream,
    stage: Stage,
    upload: Upload,
    timers: Timers,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` is set to.
    armed: Option<Instant>,
    to_client: Outbox,
    to_upstream: Outbox,
    /// The client's stream may hold bytes that were written.
    unflushed: bool,
    /// When the bytes in `to_client` were read, if that is still to be measured.
    read_at: Option<Instant>,
    /// When the client stopped taking bytes.
    stalled_at: Option<Instant>,
    /// When to look whether the client is there, while its stream is not read.
    look_at: Option<Instant>,
    /// Upstream bytes behind a head.
    inbox: Vec<u8>,
    /// The client waits for the upstream's word before it sends the body.
    expects_continue: bool,
    /// The upstream takes no more of the request.
    upload_broken: bool,
    /// The upstream's connection carried nothing but this exchange.
    upstream_clean: bool,
    client_eof: bool,
    /// The exchange is over once the client has taken everything.
    ending: Option<End>,
}

/// What is left when an exchange is over.
pub struct Rest {
    /// The upstream connection.
    pub upstream: Stream,
    /// It can serve another request, as far as this exchange knows: both messages were complete
    /// and nothing came behind the response.
    pub upstream_is_clean: bool,
    /// The client's connection stands at the start of its next request.
    pub request_is_read: bool,
    /// What was written to the client ends in the middle of something.
    pub client_is_owed: bool,
    /// Upstream bytes behind its last head.
    pub early: Vec<u8>,
}

impl<'a> Link<'a> {
    /// Connects the two.
    pub fn new(
        around: Surroundings<'a>,
        meter: &'a mut Meter,
        client: &'a mut Client,
        upstream: Stream,
        outgoing: Outgoing,
    ) -> Self {
        let Outgoing { head, body, expects_continue } = outgoing;
        let mut to_upstream = Outbox::default();
        to_upstream.push(&head);
        let mut link = Self {
            around,
            timers: Timers::new(meter.began()),
            meter,
            client,
            upstream,
            stage: Stage::Head(Vec::new()),
            upload: body,
            sleep: Box::pin(tokio::time::sleep_until(clock::now().into())),
            armed: None,
            to_client: Outbox::default(),
            to_upstream,
            unflushed: false,
            read_at: None,
            stalled_at: None,
            look_at: None,
            inbox: Vec::new(),
            expects_continue,
            upload_broken: false,
            upstream_clean: true,
            client_eof: false,
            ending: None,
        };
        link.arm_earlier();
        link
    }

    /// The exchange's measurements.
    pub fn meter(&mut self) -> &mut Meter {
        self.meter
    }

    /// Whether the client's connection stands at the start of its next request.
    pub fn request_is_read(&self) -> bool {
        self.upload.is_done()
    }

    /// Passes on an interim response (or drops it, if `head` is empty) and waits for another head.
    pub fn interim(&mut self, head: &[u8]) {
        self.to_client.push(head);
        self.stage = Stage::Head(Vec::new());
        // Whatever it was, the client need not wait for it any longer.
        self.expects_continue = false;
    }

    /// Begins the final response: its head, encoded for the client, and its body.
    ///
    /// Body bytes that came with the head go out in the same write.
    pub fn begin(&mut self, head: &[u8], body: Download) {
        let now = clock::now();
        self.to_client.push(head);
        self.timers.head_read(body.has_heartbeats(), now);
        let inbox = std::mem::take(&mut self.inbox);
        if body.is_done() {
            self.ending = Some(CloseReason::Completed.into());
            self.upstream_clean &= inbox.is_empty();
        }
        self.stage = Stage::Body(body);
        if self.ending.is_none() && !inbox.is_empty() {
            let mut to_client = std::mem::take(&mut self.to_client);
            to_client.push_with(|out| self.decode(&inbox, out, now));
            self.to_client = to_client;
            self.read_at = Some(now);
        }
        self.arm_earlier();
    }

    /// Runs until something has to be decided.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| scratch::with(|scratch| self.poll(cx, scratch))).await
    }

    /// Takes it apart.
    pub fn into_rest(self) -> Rest {
        let complete = matches!(&self.stage, Stage::Body(body) if body.is_done());
        let sent = self.upload.is_done() && self.to_upstream.is_empty() && !self.upload_broken;
        Rest {
            upstream: self.upstream,
            upstream_is_clean: complete && sent && self.upstream_clean,
            request_is_read: self.upload.is_done(),
            client_is_owed: !self.to_client.is_empty(),
            early: self.inbox,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Event> {
        if self.around.entry.poll_ended(cx) {
            return Poll::Ready(Event::End(CloseReason::Drained.into()));
        }
        // Looked at first: a timer that waits until nothing moves waits for ever in a flood.
        if self.armed.is_some_and(|at| at <= clock::now())
            && let Break(event) = self.on_time(cx, &mut scratch.out)
        {
            return Poll::Ready(event);
        }
        for _ in 0..TURNS_PER_POLL {
            match self.turn(cx, scratch) {
                Break(event) => return Poll::Ready(event),
                Continue(true) => {}
                Continue(false) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One look at everything; says whether anything moved.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> ControlFlow<Event, bool> {
        let mut moved = self.write_client(cx)?;
        moved |= self.write_upstream(cx);
        if self.to_client.is_empty() && !self.unflushed {
            if let Some(end) = self.ending {
                return Break(Event::End(end));
            }
            moved |= self.read_upstream(cx, scratch)?;
        }
        moved |= self.read_client(cx, scratch)?;
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
        while self.armed.is_some() {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Continue(false);
            }
            if self.on_time(cx, &mut scratch.out)? {
                return Continue(true);
            }
        }
        Continue(false)
    }

    /// Does what is due, and sets the timer anew; says whether anything was written.
    fn on_time(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> ControlFlow<Event, bool> {
        let now = clock::now();
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = Some(now + LOOK_EVERY);
            if self.client.has_left() {
                return Break(Event::End(CloseReason::ClientClosed.into()));
            }
        }
        let due = self.timers.due(self.around.rules, now);
        if due == Due::Heartbeat {
            self.timers.heartbeat_done(now);
        }
        self.armed = None;
        self.arm_earlier();
        match due {
            Due::End(reason) => Break(Event::End(reason.into())),
            Due::Heartbeat => self.heartbeat(cx, out),
            Due::Nothing => Continue(false),
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

    /// Sets the timer if something is due before it fires. Later is left alone: when it fires it is
    /// set anew, so a stream arms one timer per silence rather than one per event.
    fn arm_earlier(&mut self) {
        let due = self.timers.next(self.around.rules);
        let Some(next) = due.into_iter().chain(self.look_at).min() else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            self.sleep.as_mut().reset(next.into());
        }
    }
}
