//! From the upstream to the client.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::task::{Context, Poll};
use std::time::Instant;

use super::{Event, Link, Loss, Wire};
use crate::client::poll_read;
use crate::clock;
use crate::http1::head::parse_response;
use crate::live::reason::CloseReason;
use crate::relay::download::Eof;
use crate::scratch::Scratch;

/// Largest response head. Servers that set many cookies reach 16 KiB.
const RESPONSE_HEAD_MAX_BYTES: usize = 64 * 1024;

impl<U: Wire> Link<'_, U> {
    pub(super) fn read_upstream(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        came_at: Option<Instant>,
    ) -> ControlFlow<Event, bool> {
        if !self.inbox.is_empty() {
            let inbox = std::mem::take(&mut self.inbox);
            return self.upstream_bytes(cx, &inbox, &mut scratch.out, came_at);
        }
        let Some(upstream) = &mut self.upstream else { return Continue(false) };
        match poll_read(upstream, cx, &mut scratch.read) {
            Poll::Pending => Continue(false),
            Poll::Ready(Ok(0)) => self.upstream_closed(cx, &mut scratch.out),
            Poll::Ready(Ok(count)) => {
                self.upstream_bytes(cx, &scratch.read[..count], &mut scratch.out, came_at)
            }
            Poll::Ready(Err(error)) => {
                self.lost.get_or_insert(Loss::Failed(error));
                Break(Event::End(CloseReason::UpstreamReset.into()))
            }
        }
    }

    fn upstream_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
        came_at: Option<Instant>,
    ) -> ControlFlow<Event, bool> {
        if let Some(head) = &mut self.head {
            // Nearly all come in one piece, and need not be gathered.
            let come = match std::mem::take(head) {
                before if before.is_empty() => Cow::Borrowed(bytes),
                mut before => {
                    before.extend_from_slice(bytes);
                    Cow::Owned(before)
                }
            };
            return match parse_response(&come) {
                Ok(Some((parsed, length))) if length <= RESPONSE_HEAD_MAX_BYTES => {
                    self.inbox = come[length..].to_vec();
                    let came_at = came_at.unwrap_or_else(clock::now);
                    Break(Event::Head { head: Box::new(parsed), came_at })
                }
                Ok(None) if come.len() <= RESPONSE_HEAD_MAX_BYTES => {
                    *head = come.into_owned();
                    Continue(true)
                }
                Ok(_) | Err(_) => Break(Event::End(CloseReason::ProtocolError.into())),
            };
        }
        let now = came_at.unwrap_or_else(clock::now);
        self.decode(bytes, out, now);
        self.send(cx, out, Some(now))
    }

    /// Body bytes from the upstream, encoded into `out`.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>, now: Instant) {
        let Some(body) = &mut self.body else { return };
        let mut input = bytes;
        let (step, pushed) = body.push(&mut input, out);
        if step.bytes > 0 {
            self.timers.body_read(now);
            self.meter.body_read(step.bytes, step.events, now);
        }
        if pushed.is_err() {
            // What was good is delivered, then the connection is cut.
            self.ending = Some(CloseReason::ProtocolError.into());
        } else if body.is_done() {
            self.upstream_clean &= input.is_empty();
            let whole = body.verdict() == Eof::Clean;
            let reason = if whole { CloseReason::Completed } else { CloseReason::Truncated };
            self.ending = Some(reason.into());
        }
    }

    fn upstream_closed(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> ControlFlow<Event, bool> {
        self.upstream_clean = false;
        self.lost.get_or_insert(Loss::Closed);
        let Some(body) = self.body.as_mut().filter(|_| self.head.is_none()) else {
            return Break(Event::End(CloseReason::UpstreamReset.into()));
        };
        match body.end() {
            Eof::Truncated | Eof::Unmarked => Break(Event::End(CloseReason::Truncated.into())),
            Eof::Clean => {
                body.finish(out);
                self.ending = Some(CloseReason::UpstreamClosed.into());
                self.send(cx, out, None)
            }
        }
    }

    /// Writes a heartbeat, if one may stand here.
    pub(super) fn heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> ControlFlow<Event, bool> {
        let Some(body) = &mut self.body else { return Continue(false) };
        let Some(bytes) = body.push_heartbeat(out) else { return Continue(false) };
        self.meter.heartbeat(bytes);
        self.send(cx, out, None)
    }

    /// Writes `out` to the client; what it does not take now waits in `to_client`.
    ///
    /// From the thread's buffer straight to the socket: a stream that flows owns no buffer.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        read_at: Option<Instant>,
    ) -> ControlFlow<Event, bool> {
        let mut taken = 0;
        if self.to_client.is_empty() && !out.is_empty() {
            taken = match self.client.poll_write(cx, out) {
                Poll::Pending => 0,
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Break(gone(&error)),
            };
            self.unflushed = true;
            self.read_at = read_at;
        }
        if taken < out.len() {
            self.to_client.push(&out[taken..]);
        }
        out.clear();
        self.write_client(cx)?;
        Continue(true)
    }

    pub(super) fn write_client(&mut self, cx: &mut Context<'_>) -> ControlFlow<Event, bool> {
        let mut moved = false;
        while !self.to_client.is_empty() {
            match self.client.poll_write(cx, self.to_client.rest()) {
                Poll::Pending => {
                    self.client_stalls();
                    return Continue(moved);
                }
                Poll::Ready(Ok(0)) => return Break(gone(&io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Break(gone(&error)),
                Poll::Ready(Ok(count)) => {
                    moved = true;
                    self.unflushed = true;
                    self.to_client.take(count);
                    if self.stalled_at.is_some() {
                        let now = clock::now();
                        self.timers.client_took_some(self.around.rules, now);
                        self.meter.client_took(false, now);
                    }
                }
            }
        }
        if self.unflushed {
            match self.client.poll_flush(cx) {
                // TLS holds up to a record that the client does not take.
                Poll::Pending => {
                    self.client_stalls();
                    return Continue(moved);
                }
                Poll::Ready(Err(error)) => return Break(gone(&error)),
                Poll::Ready(Ok(())) => self.client_took_all(),
            }
        }
        Continue(moved)
    }

    fn client_stalls(&mut self) {
        if self.stalled_at.is_some() {
            return;
        }
        let now = clock::now();
        self.stalled_at = Some(now);
        self.timers.client_stalls(now);
        self.meter.client_stalls(now);
        self.client.allow_stall(self.around.rules.stream.slow_client_timeout);
        self.arm_earlier();
    }

    fn client_took_all(&mut self) {
        self.unflushed = false;
        let now = clock::now();
        let stalled_at = self.stalled_at.take();
        self.meter.client_took(true, now);
        if let Some(read_at) = self.read_at.take() {
            self.meter.written(read_at, stalled_at.is_some(), now);
        }
        if let Some(since) = stalled_at {
            self.meter.stalled(now - since);
            self.timers.client_flows(now);
            self.arm_earlier();
        }
    }
}

/// What a failed write says.
fn gone(error: &io::Error) -> Event {
    Event::End(CloseReason::of_failed_write(error).into())
}
