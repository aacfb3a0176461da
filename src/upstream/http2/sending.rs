//! The request half of an exchange: HTTP/1.1 bytes in, HEADERS and DATA out.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};

use super::failure::never_sent;
use super::request;
use super::session::Shared;
use super::wire::Mark;
use crate::http1::framing::{self, Framing};
use crate::http1::head::{RequestHead, parse_request};
use crate::http2::heads::Collector;
use crate::http2::outgoing::{Outgoing, invalid};

/// Longest request head. Ours are as long as a listener accepts and a few fields more.
const HEAD_MAX_BYTES: usize = 1024 * 1024;

/// So much of a body is given to h2 without asking whether the peer has room. h2 knows that only
/// once its task has sent the head; asking would cost every request two changes of task, and a
/// packet of its own for the head. Most chats are shorter.
const FIRST_PIECE_BYTES: usize = 16 * 1024;

/// ```text
/// Head -> Body -> Done
///    \_____________/      no body, or a failure
/// ```
pub(super) enum Sending {
    /// Collecting a head.
    Head { sender: SendRequest<Bytes>, collector: Collector },
    /// Passing on the body.
    Body(Outgoing),
    /// The upstream has, or takes, no more.
    Done,
}

/// What begins when a head is complete.
pub(super) struct Sent {
    /// Where the response will come.
    pub(super) response: ResponseFuture,
    /// The method is HEAD: no response to it has a body.
    pub(super) to_head: bool,
    /// Set before the request was sent.
    pub(super) mark: Mark,
    /// Some part of a response has come.
    pub(super) answered: bool,
}

impl Sending {
    /// At the start of a request.
    pub(super) fn new(sender: SendRequest<Bytes>) -> Self {
        Self::Head { sender, collector: Collector::default() }
    }

    /// Whether the whole request was sent, or no more of it is taken.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the head is still to come.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self, Self::Head { .. })
    }

    /// Takes bytes of the head from the front of `data`; gives how many, and what begins when it
    /// was the last. After an error nothing more is taken.
    pub(super) fn head(
        &mut self,
        data: &[u8],
        shared: &Shared,
    ) -> io::Result<(usize, Option<Sent>)> {
        let Self::Head { sender, collector } = self else { return Ok((0, None)) };
        let sent = match collector.take(data, HEAD_MAX_BYTES, parse_request) {
            Ok((taken, None)) => return Ok((taken, None)),
            Ok((taken, Some(head))) => {
                send(sender, &head, shared).map(|(next, sent)| (taken, next, sent))
            }
            Err(error) => Err(error),
        };
        match sent {
            Ok((taken, next, sent)) => {
                *self = next;
                Ok((taken, Some(sent)))
            }
            Err(error) => {
                *self = Self::Done;
                Err(error)
            }
        }
    }

    /// Takes bytes of the body from the front of `data`, as many as the peer's windows allow; gives
    /// how many.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self::Body(body) = self else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let polled = body.poll_write(cx, data);
        if body.is_done() || matches!(polled, Poll::Ready(Err(_))) {
            *self = Self::Done;
        }
        polled
    }
}

fn send(
    sender: &mut SendRequest<Bytes>,
    head: &RequestHead,
    shared: &Shared,
) -> io::Result<(Sending, Sent)> {
    let framing = framing::of_request(head).map_err(invalid)?;
    let request = request::translate(head, shared.limits.https).map_err(invalid)?;
    let bodyless = matches!(framing, Framing::None | Framing::Length(0));
    let mark = Mark::set(&shared.tally);
    // What h2 refuses it has not sent, whatever its reason; most often the connection has ended.
    let (response, stream) = sender.send_request(request, bodyless).map_err(|_| never_sent())?;
    let next = if bodyless {
        Sending::Done
    } else {
        Sending::Body(Outgoing::new(stream, framing, FIRST_PIECE_BYTES))
    };
    let to_head = head.method == "HEAD";
    Ok((next, Sent { response, to_head, mark, answered: false }))
}
