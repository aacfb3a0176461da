//! From the client to the upstream.

use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{End, Event, Link, Loss, Wire};
use crate::client::READ_AHEAD_BYTES;
use crate::clock;
use crate::live::reason::CloseReason;
use crate::relay::gate::Gate;
use crate::relay::upload::UploadError;
use crate::scratch::Scratch;

impl<U: Wire> Link<'_, U> {
    /// Reads the request's body, or what shows that the client has left.
    pub(super) fn read_client(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<Event, bool> {
        if self.client_eof {
            return Continue(false);
        }
        let uploading = self.takes_body();
        let unread = if uploading {
            !self.to_upstream.is_empty()
        } else {
            self.client.inbox.len() >= READ_AHEAD_BYTES
        };
        self.look_after_client(unread);
        if unread {
            return Continue(false);
        }
        if uploading && !self.client.inbox.is_empty() {
            let inbox = std::mem::take(&mut self.client.inbox);
            return self.client_bytes(cx, &inbox, &mut scratch.out);
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

    /// Takes what came of the body with the head, so that both go on in one write: of another one
    /// the upstream would know the next moment.
    ///
    /// Only what can be repeated: until the head has been written, nothing else has to be kept.
    pub(super) fn take_early(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> ControlFlow<Event, bool> {
        let came = self.client.inbox.len();
        if came == 0 || !self.takes_body() || !self.upload.can_keep(came) {
            return Continue(false);
        }
        let inbox = std::mem::take(&mut self.client.inbox);
        self.client_bytes(cx, &inbox, &mut scratch.out)
    }

    fn client_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> ControlFlow<Event, bool> {
        let mut input = bytes;
        if self.takes_body() {
            let before = self.upload.bytes();
            if let Err(error) = self.upload.push(&mut input, out) {
                let reason = match error {
                    UploadError::Body(_) => CloseReason::ProtocolError,
                    UploadError::TooLong => CloseReason::Limit,
                };
                return Break(Event::End(End { reason, client_to_blame: true }));
            }
            // Without an upstream it is kept, and goes to the next one.
            if self.upstream.is_some() {
                self.to_upstream.push(out);
            }
            out.clear();
            self.expects_continue = false;
            let came = self.upload.bytes() - before;
            self.meter.request_bytes(came);
            let was_awaited = self.timers.awaits_request();
            self.timers.request_read(came, clock::now());
            if !was_awaited {
                // The client's time runs again, and may be shorter than the upstream's.
                self.arm_earlier();
            }
            self.write_upstream(cx);
        }
        self.client.inbox.extend_from_slice(input);
        if self.upload.is_done() && std::mem::take(&mut self.commit_again) {
            return Break(Event::Commit);
        }
        Continue(true)
    }

    /// Whether more of the request's body is wanted: by an upstream, or by the next one.
    fn takes_body(&self) -> bool {
        let somewhere = self.upstream.is_some() || self.upload.will_be_kept();
        somewhere && !self.upload.is_done() && !self.upload_broken
    }

    pub(super) fn write_upstream(&mut self, cx: &mut Context<'_>) -> bool {
        let has_all = self.to_upstream.is_empty() && !self.upstream_unflushed;
        let is_owed = self.timers.upstream_is_stalled() || self.timers.awaits_request();
        (!has_all || is_owed) && self.write_what_waits(cx)
    }

    fn write_what_waits(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(upstream) = &mut self.upstream else { return false };
        let mut moved = false;
        while !self.to_upstream.is_empty() {
            let rest = self.to_upstream.rest();
            let piece = match self.gate.as_deref().map(Gate::allowance) {
                None => rest,
                Some(0) => {
                    self.arm_earlier();
                    return moved;
                }
                Some(length) => &rest[..length.min(rest.len())],
            };
            match Pin::new(&mut *upstream).poll_write(cx, piece) {
                Poll::Pending => {
                    if moved || !self.timers.upstream_is_stalled() {
                        self.timers.upstream_stalls(clock::now());
                        self.arm_earlier();
                    }
                    return moved;
                }
                Poll::Ready(Ok(count)) if count > 0 => {
                    moved = true;
                    self.upstream_unflushed = true;
                    self.to_upstream.take(count);
                    if let Some(gate) = &mut self.gate {
                        gate.wrote(count, clock::now());
                    }
                }
                // It may have answered before it closed: what it said decides.
                Poll::Ready(result) => {
                    let error = result.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    self.lost.get_or_insert(Loss::Failed(error));
                    self.upload_broken = true;
                    self.to_upstream.clear();
                }
            }
        }
        // TLS may hold a part of what it took. An error is seen by the next read.
        if self.upstream_unflushed && Pin::new(&mut *upstream).poll_flush(cx).is_pending() {
            if moved || !self.timers.upstream_is_stalled() {
                self.timers.upstream_stalls(clock::now());
                self.arm_earlier();
            }
            return moved;
        }
        self.upstream_unflushed = false;
        if self.timers.upstream_is_stalled() {
            self.timers.upstream_flows(clock::now());
            self.arm_earlier();
        }
        let all = self.upload.is_done() || self.upload_broken;
        if self.timers.awaits_request() && (all || self.expects_continue) {
            let now = clock::now();
            self.timers.request_sent(now);
            self.meter.request_sent(now);
            self.arm_earlier();
        }
        moved
    }
}
