//! The one loop that does the IO of an exchange.
//!
//! One task, no channel, no lock: both directions are polled in turn. A side is read only while
//! nothing waits to be written to the other; that is the back-pressure, and each direction moves
//! alone.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use pingora::protocols::Stream;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use super::client::{Client, READ_AHEAD_BYTES, poll_read};
use super::download::{Download, Eof};
use super::scratch::{self, Scratch};
use super::timers::{Due, Timers};
use super::upload::Upload;
use crate::clock;
use crate::config::model::Proxy;
use crate::http1::head::{ResponseHead, parse_response};
use crate::live::reason::CloseReason;
use crate::live::registry::Entry;
use crate::telemetry::meter::Meter;

/// Largest response head. Servers that set many cookies reach 16 KiB.
pub const RESPONSE_HEAD_MAX_BYTES: usize = 64 * 1024;

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
    to_client: Vec<u8>,
    to_upstream: Vec<u8>,
    /// The client's stream may hold bytes that were written.
    unflushed: bool,
    /// When the bytes in `to_client` were read, if that is still to be measured.
    read_at: Option<Instant>,
    /// When the client stopped taking bytes.
    stalled_at: Option<Instant>,
    /// Upstream bytes behind a head.
    inbox: Vec<u8>,
    /// The upstream takes no more of the request.
    upload_broken: bool,
    /// The upstream's connection carried nothing but this exchange.
    upstream_clean: bool,
    client_eof: bool,
    /// The exchange is over once the client has taken everything.
    ending: Option<End>,
}

impl<'a> Link<'a> {
    /// Connects the two; `request` is the head for the upstream, encoded.
    pub fn new(
        around: Surroundings<'a>,
        meter: &'a mut Meter,
        client: &'a mut Client,
        upstream: Stream,
        upload: Upload,
        request: Vec<u8>,
    ) -> Self {
        let timers = Timers::new(meter.began());
        let mut link = Self {
            around,
            meter,
            client,
            upstream,
            stage: Stage::Head(Vec::new()),
            upload,
            timers,
            sleep: Box::pin(tokio::time::sleep_until(clock::now().into())),
            armed: None,
            to_client: Vec::new(),
            to_upstream: request,
            unflushed: false,
            read_at: None,
            stalled_at: None,
            inbox: Vec::new(),
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

    /// Passes on an interim response (or drops it, if `head` is empty) and waits for another head.
    pub fn interim(&mut self, head: &[u8]) {
        self.to_client.extend_from_slice(head);
        self.stage = Stage::Head(Vec::new());
    }

    /// Begins the final response: its head, encoded for the client, and its body.
    ///
    /// Body bytes that came with the head go out in the same write.
    pub fn begin(&mut self, head: &[u8], body: Download) {
        let now = clock::now();
        self.to_client.extend_from_slice(head);
        self.timers.head_read(body.has_heartbeats(), now);
        if body.is_done() {
            self.ending = Some(CloseReason::Completed.into());
        }
        self.upstream_clean &= self.inbox.is_empty() || !body.is_done();
        self.stage = Stage::Body(body);
        if self.ending.is_none() && !self.inbox.is_empty() {
            let inbox = std::mem::take(&mut self.inbox);
            let mut out = std::mem::take(&mut self.to_client);
            self.decode(&inbox, &mut out, now);
            self.to_client = out;
            self.read_at = Some(now);
        }
        self.arm_earlier();
    }

    /// Runs until something has to be decided.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| scratch::with(|scratch| self.poll(cx, scratch))).await
    }

    /// The upstream connection, and whether it can serve another request as far as this exchange
    /// knows: both messages were complete and nothing came behind the response.
    pub fn into_upstream(self) -> (Stream, bool) {
        let complete = matches!(&self.stage, Stage::Body(body) if body.is_done());
        let clean = complete && self.upload.is_done() && self.to_upstream.is_empty();
        (self.upstream, clean && self.upstream_clean && !self.upload_broken)
    }

    /// Whether the client's connection stands at the start of its next request.
    pub fn request_is_read(&self) -> bool {
        self.upload.is_done()
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Event> {
        if self.around.entry.poll_ended(cx) {
            return Poll::Ready(Event::End(CloseReason::Drained.into()));
        }
        loop {
            match self.turn(cx, scratch) {
                Break(event) => return Poll::Ready(event),
                Continue(true) => {}
                Continue(false) => return Poll::Pending,
            }
        }
    }

    /// One look at everything; says whether anything moved.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> ControlFlow<Event, bool> {
        let mut moved = self.write_client(cx)?;
        moved |= self.write_upstream(cx);
        if self.to_client.is_empty() {
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

    // === Upstream to client ===

    fn read_upstream(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<Event, bool> {
        if !self.inbox.is_empty() {
            let inbox = std::mem::take(&mut self.inbox);
            return self.upstream_bytes(cx, &inbox, &mut scratch.out);
        }
        match poll_read(&mut self.upstream, cx, &mut scratch.read) {
            Poll::Pending => Continue(false),
            Poll::Ready(Ok(0)) => self.upstream_closed(cx, &mut scratch.out),
            Poll::Ready(Ok(count)) => {
                self.upstream_bytes(cx, &scratch.read[..count], &mut scratch.out)
            }
            Poll::Ready(Err(_)) => Break(Event::End(CloseReason::UpstreamReset.into())),
        }
    }

    fn upstream_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> ControlFlow<Event, bool> {
        if let Stage::Head(head) = &mut self.stage {
            head.extend_from_slice(bytes);
            return match parse_response(head) {
                Ok(Some((parsed, length))) => {
                    self.inbox = head.split_off(length);
                    *head = Vec::new();
                    Break(Event::Head(Box::new(parsed)))
                }
                Ok(None) if head.len() <= RESPONSE_HEAD_MAX_BYTES => Continue(true),
                Ok(None) | Err(_) => Break(Event::End(CloseReason::ProtocolError.into())),
            };
        }
        let now = clock::now();
        self.decode(bytes, out, now);
        self.send(cx, out, Some(now))
    }

    /// Body bytes from the upstream, encoded into `out`.
    fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>, now: Instant) {
        let Stage::Body(body) = &mut self.stage else { return };
        let mut input = bytes;
        match body.push(&mut input, out) {
            Ok(step) => {
                if step.bytes > 0 {
                    self.timers.body_read(now);
                    self.meter.body_read(step, now);
                }
                if body.is_done() {
                    self.upstream_clean &= input.is_empty();
                    self.ending = Some(CloseReason::Completed.into());
                }
            }
            // What was good is delivered, then the connection is cut.
            Err(_) => self.ending = Some(CloseReason::ProtocolError.into()),
        }
    }

    fn upstream_closed(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> ControlFlow<Event, bool> {
        self.upstream_clean = false;
        let Stage::Body(body) = &mut self.stage else {
            return Break(Event::End(CloseReason::UpstreamReset.into()));
        };
        match body.end() {
            Eof::Truncated | Eof::Done => Break(Event::End(CloseReason::Truncated.into())),
            Eof::Clean => {
                body.finish(out);
                self.ending = Some(CloseReason::UpstreamClosed.into());
                self.send(cx, out, None)
            }
        }
    }

    /// Writes `out` to the client; what it does not take now waits in `to_client`, which is empty.
    ///
    /// From the thread's buffer straight to the socket: a stream that flows owns no buffer.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        read_at: Option<Instant>,
    ) -> ControlFlow<Event, bool> {
        if out.is_empty() {
            return Continue(true);
        }
        let taken = match self.client.poll_write(cx, out) {
            Poll::Pending => 0,
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(_)) => {
                out.clear();
                return Break(Event::End(CloseReason::ClientClosed.into()));
            }
        };
        self.to_client.extend_from_slice(&out[taken..]);
        out.clear();
        self.unflushed = true;
        self.read_at = read_at;
        Continue(true)
    }

    fn write_client(&mut self, cx: &mut Context<'_>) -> ControlFlow<Event, bool> {
        let gone = |_: io::Error| Event::End(CloseReason::ClientClosed.into());
        let mut moved = false;
        while !self.to_client.is_empty() {
            match self.client.poll_write(cx, &self.to_client) {
                Poll::Pending => {
                    if self.stalled_at.is_none() {
                        let now = clock::now();
                        self.stalled_at = Some(now);
                        self.timers.client_stalls(now);
                        self.arm_earlier();
                    }
                    return Continue(moved);
                }
                Poll::Ready(Ok(0)) => return Break(gone(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Break(gone(error)),
                Poll::Ready(Ok(count)) => {
                    moved = true;
                    self.unflushed = true;
                    self.to_client.drain(..count);
                    if self.stalled_at.is_some() {
                        self.timers.client_stalls(clock::now());
                    }
                }
            }
        }
        if self.unflushed {
            match self.client.poll_flush(cx) {
                Poll::Pending => return Continue(moved),
                Poll::Ready(Err(error)) => return Break(gone(error)),
                Poll::Ready(Ok(())) => self.client_took_all(),
            }
        }
        Continue(moved)
    }

    fn client_took_all(&mut self) {
        self.unflushed = false;
        self.to_client = Vec::new();
        let now = clock::now();
        if let Some(read_at) = self.read_at.take() {
            self.meter.written(read_at, now);
        }
        if let Some(since) = self.stalled_at.take() {
            self.meter.stalled(now - since);
            self.timers.client_flows(now);
            self.arm_earlier();
        }
    }

    // === Client to upstream ===

    fn read_client(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<Event, bool> {
        if self.client_eof {
            return Continue(false);
        }
        let uploading = !self.upload.is_done() && !self.upload_broken;
        if uploading && !self.to_upstream.is_empty() {
            return Continue(false);
        }
        if uploading && !self.client.inbox.is_empty() {
            let inbox = std::mem::take(&mut self.client.inbox);
            return self.client_bytes(cx, &inbox, &mut scratch.out);
        }
        if !uploading && self.client.inbox.len() >= READ_AHEAD_BYTES {
            return Continue(false);
        }
        match self.client.poll_read(cx, &mut scratch.read) {
            Poll::Pending => Continue(false),
            Poll::Ready(Ok(count)) if count > 0 => {
                self.client_bytes(cx, &scratch.read[..count], &mut scratch.out)
            }
            // The response is complete; a client that wants nothing more may still be reading it.
            Poll::Ready(_) if self.ending.is_some() => {
                self.client_eof = true;
                Continue(false)
            }
            Poll::Ready(_) => Break(Event::End(CloseReason::ClientClosed.into())),
        }
    }

    fn client_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> ControlFlow<Event, bool> {
        let mut input = bytes;
        if !self.upload_broken {
            let before = self.upload.bytes();
            let pushed = self.upload.push(&mut input, out);
            self.to_upstream.extend_from_slice(out);
            out.clear();
            if pushed.is_err() {
                let reason = CloseReason::ProtocolError;
                return Break(Event::End(End { reason, client_to_blame: true }));
            }
            self.meter.request_bytes(self.upload.bytes() - before);
        }
        self.client.inbox.extend_from_slice(input);
        self.write_upstream(cx);
        Continue(true)
    }

    fn write_upstream(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.to_upstream.is_empty() {
            match Pin::new(&mut self.upstream).poll_write(cx, &self.to_upstream) {
                Poll::Pending => {
                    if moved || !self.timers.upstream_is_stalled() {
                        self.timers.upstream_stalls(clock::now());
                        self.arm_earlier();
                    }
                    return moved;
                }
                Poll::Ready(Ok(count)) if count > 0 => {
                    moved = true;
                    self.to_upstream.drain(..count);
                }
                // It may have answered before it closed: what it said decides.
                Poll::Ready(_) => {
                    self.upload_broken = true;
                    self.to_upstream = Vec::new();
                }
            }
        }
        let _ = Pin::new(&mut self.upstream).poll_flush(cx);
        self.timers.upstream_flows();
        if self.timers.is_sending() && (self.upload.is_done() || self.upload_broken) {
            self.to_upstream = Vec::new();
            let now = clock::now();
            self.timers.request_sent(now);
            self.meter.request_sent(now);
            self.arm_earlier();
        }
        moved
    }

    // === Time ===

    fn poll_timers(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<Event, bool> {
        while self.armed.is_some() {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Continue(false);
            }
            let now = clock::now();
            let due = self.timers.due(self.around.rules, now);
            if due == Due::Heartbeat {
                self.timers.heartbeat_done(now);
            }
            self.armed = None;
            self.arm_earlier();
            match due {
                Due::End(reason) => return Break(Event::End(reason.into())),
                Due::Heartbeat => return self.heartbeat(cx, &mut scratch.out),
                Due::Nothing => {}
            }
        }
        Continue(false)
    }

    fn heartbeat(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> ControlFlow<Event, bool> {
        let Stage::Body(body) = &mut self.stage else { return Continue(true) };
        let Some(bytes) = body.push_heartbeat(out) else { return Continue(true) };
        self.meter.heartbeat(bytes);
        self.send(cx, out, None)
    }

    /// Sets the timer if something is due before it fires. Later is left alone: when it fires it is
    /// set anew, so a stream arms one timer per silence rather than one per event.
    fn arm_earlier(&mut self) {
        let Some(next) = self.timers.next(self.around.rules) else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            self.sleep.as_mut().reset(next.into());
        }
    }
}
