//! The response half of an exchange: HTTP/1.1 bytes in, HEADERS and DATA out.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;

use super::response;
use super::tunnel::Tunnel;
use crate::http1::framing::{self, Framing};
use crate::http1::head::{ResponseHead, parse_response};
use crate::http2::heads::Collector;
use crate::http2::lost;
use crate::http2::outgoing::{Outgoing, invalid};

/// Longest response head. Upstreams may send 64 KiB, and we add a few fields.
const HEAD_MAX_BYTES: usize = 128 * 1024;

/// So much is taken at once: a stream that takes more room than it needs just now takes it from the
/// connection's other streams.
const PIECE_BYTES: usize = 16 * 1024;

/// ```text
/// Head (-> interim heads …) -> Body -> Done
///    \___________________________\___> Broken
/// ```
pub(super) enum Sending {
    /// Collecting a head.
    Head(Collector),
    /// Passing on the body.
    Body(Outgoing),
    /// The response is complete.
    Done,
    /// It never will be.
    Broken,
}

/// What the request was, as far as its response depends on it.
pub(super) struct Asked {
    /// Its method is HEAD: no response has a body.
    pub(super) to_head: bool,
    /// It asks for a WebSocket.
    pub(super) tunnel: Option<Tunnel>,
}

impl Sending {
    /// At the start of a response.
    pub(super) fn new() -> Self {
        Self::Head(Collector::default())
    }

    /// Whether the whole response was sent.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes bytes from the front of `data`, as many as the client has room for; gives how many.
    /// After an error nothing more is taken.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        respond: &mut SendResponse<Bytes>,
        asked: &Asked,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let data = &data[..data.len().min(PIECE_BYTES)];
        let polled = match self {
            Self::Head(collector) => match head(collector, respond, asked, data) {
                Ok((taken, next)) => {
                    if let Some(next) = next {
                        *self = next;
                    }
                    Poll::Ready(Ok(taken))
                }
                Err(error) => Poll::Ready(Err(error)),
            },
            Self::Body(body) => body.poll_write(cx, data),
            // What comes behind a complete response belongs to nobody.
            Self::Done | Self::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        match &polled {
            Poll::Ready(Err(_)) if !self.is_done() => *self = Self::Broken,
            _ => self.settle(),
        }
        polled
    }

    /// Ends a body that has no other end, as a connection's end would. Any other is left as it is.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Self::Body(body) = self else { return Ok(()) };
        if body.ends_when_told() {
            let ended = body.end();
            *self = if ended.is_ok() { Self::Done } else { Self::Broken };
            return ended;
        }
        Ok(())
    }

    /// Waits until the client has reset the stream, or it is lost otherwise.
    pub(super) fn poll_reset(
        &mut self,
        cx: &mut Context<'_>,
        respond: &mut SendResponse<Bytes>,
    ) -> Poll<()> {
        let polled = match self {
            Self::Body(body) => body.poll_reset(cx),
            _ => respond.poll_reset(cx),
        };
        polled.map(|_| ())
    }

    fn settle(&mut self) {
        if let Self::Body(body) = self
            && body.is_done()
        {
            *self = Self::Done;
        }
    }
}

/// Takes bytes of a head from the front of `data`; gives how many, and what begins when it was the
/// last one of a final head.
fn head(
    collector: &mut Collector,
    respond: &mut SendResponse<Bytes>,
    asked: &Asked,
    data: &[u8],
) -> io::Result<(usize, Option<Sending>)> {
    let (taken, complete) = collector.take(data, HEAD_MAX_BYTES, parse_response)?;
    let next = match complete {
        Some(head) => send(&head, respond, asked)?,
        None => None,
    };
    Ok((taken, next))
}

/// Sends a head; gives what follows a final one.
fn send(
    head: &ResponseHead,
    respond: &mut SendResponse<Bytes>,
    asked: &Asked,
) -> io::Result<Option<Sending>> {
    match (head.status, &asked.tunnel) {
        (101, None) => Err(invalid("101 in HTTP/2")),
        (101, Some(tunnel)) if tunnel.is_answered_by(&head.fields) => {
            let response = response::opened(head).map_err(invalid)?;
            let stream = respond.send_response(response, false).map_err(lost)?;
            Ok(Some(Sending::Body(Outgoing::new(stream, Framing::UntilClose, 0))))
        }
        // To the client any 2xx would say that there is a WebSocket.
        (101 | 200..=299, Some(_)) => {
            respond.send_response(response::bare(502), true).map_err(lost)?;
            Err(invalid("no answer to the WebSocket handshake"))
        }
        (100..=199, _) => {
            let response = response::translate(head, Framing::None).map_err(invalid)?;
            respond.send_informational(response).map_err(lost)?;
            Ok(None)
        }
        _ => {
            let framing = framing::of_response(head, asked.to_head).map_err(invalid)?;
            let response = response::translate(head, framing).map_err(invalid)?;
            let bodyless = matches!(framing, Framing::None | Framing::Length(0));
            let stream = respond.send_response(response, bodyless).map_err(lost)?;
            let body = Sending::Body(Outgoing::new(stream, framing, 0));
            Ok(Some(if bodyless { Sending::Done } else { body }))
        }
    }
}
