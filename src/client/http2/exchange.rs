//! One request on a session, in the shape of an HTTP/1.1 connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::Translated;
use super::sending::{Asked, Sending};
use super::shared::{Cut, Shared};
use crate::http1::head::RequestHead;
use crate::http2::incoming::{Incoming, Moved, read_text};
use crate::outbox::Outbox;

/// An exchange: the request's body is read from it as on an HTTP/1.1 connection, behind a head that
/// came apart from it, and the response is written to it. One task polls both halves.
///
/// - The body is framed as the head says: with its `Content-Length`, or in chunks. Only what is
///   read is released to the client.
/// - Behind the body a read is `Pending` until the client resets the stream or the connection is
///   lost; then it fails.
/// - Interim and final heads are written, then a body that is framed as its head says. What HTTP/2
///   has no use for is left out: fields about the connection, chunks. A body that ends with the
///   connection ends with a shutdown.
/// - A write is `Pending` while the client's windows are full, or [`super::limits`] are reached.
/// - A request for a WebSocket (RFC 8441) is a handshake of HTTP/1.1. Behind the 101, bytes pass
///   both ways as they come, a read of 0 is the client's end, and a shutdown is ours.
///
/// Dropped before its response is complete, the stream is reset, so that nobody takes it for
/// complete: with INTERNAL_ERROR, or CANCEL for a WebSocket, as RFC 8441 §5 says. Dropped later,
/// while the request is still coming, h2 resets it with NO_ERROR (RFC 9113 §8.1).
pub struct Exchange {
    /// `None` only while it is dropped.
    respond: Option<SendResponse<Bytes>>,
    asked: Asked,
    sending: Sending,
    receiving: Receiving,
    /// Framing that did not fit into the last read.
    text: Outbox,
    /// Our end was said, and nothing more is wanted.
    is_shut: bool,
    /// Who is to be woken by the stream.
    task: Option<Waker>,
    shared: Arc<Shared>,
}

enum Receiving {
    /// The rest of the body.
    Body(Incoming),
    /// The body is complete. The rest of the stream, if its end was not seen yet, is kept open, so
    /// that the client's last frames find it.
    Quiet(Option<RecvStream>),
    /// The client's half of a WebSocket is over.
    Ended,
    /// The client has reset the stream, or is gone.
    Lost(Option<io::Error>),
}

impl Exchange {
    /// Begins.
    pub(super) fn new(
        translated: Translated,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        shared: Arc<Shared>,
    ) -> (RequestHead, Self) {
        shared.begin();
        let Translated { head, framing, tunnel } = translated;
        let exchange = Self {
            respond: Some(respond),
            asked: Asked { to_head: head.method == "HEAD", tunnel },
            sending: Sending::new(),
            receiving: Receiving::Body(Incoming::new(body, framing)),
            text: Outbox::default(),
            is_shut: false,
            task: None,
            shared,
        };
        (head, exchange)
    }

    /// Whether the client has reset the stream, or its connection is lost; also while nothing is
    /// read.
    pub fn has_left(&mut self) -> bool {
        // h2 knows one task to wake: the one that has polled last must stay it.
        let task = self.task.clone();
        let waker = task.as_ref().unwrap_or(Waker::noop());
        self.poll_reset(&mut Context::from_waker(waker)).is_ready()
    }

    /// Whether it is a WebSocket.
    pub fn is_tunnel(&self) -> bool {
        self.asked.tunnel.is_some()
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.respond {
            Some(respond) => self.sending.poll_reset(cx, respond),
            None => Poll::Ready(()),
        }
    }

    fn remember(&mut self, cx: &Context<'_>) {
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            None => self.task = Some(cx.waker().clone()),
        }
    }
}

impl AsyncRead for Exchange {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.remember(cx);
        let before = buffer.filled().len();
        loop {
            read_text(&mut this.text, buffer);
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let any = buffer.filled().len() > before;
            let moved = match &mut this.receiving {
                Receiving::Body(body) => body.poll(cx, buffer, &mut this.text),
                _ if any => return Poll::Ready(Ok(())),
                Receiving::Ended => return Poll::Ready(Ok(())),
                Receiving::Lost(error) => {
                    let again = || io::ErrorKind::ConnectionReset.into();
                    return Poll::Ready(Err(error.take().unwrap_or_else(again)));
                }
                Receiving::Quiet(_) if this.is_shut => return Poll::Ready(Ok(())),
                Receiving::Quiet(_) => match this.poll_reset(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {
                        this.receiving = Receiving::Lost(None);
                        continue;
                    }
                },
            };
            match moved {
                Poll::Ready(Ok(Moved::On)) => {}
                Poll::Ready(Ok(Moved::Ended)) => this.end(),
                Poll::Ready(Err(error)) => this.receiving = Receiving::Lost(Some(error)),
                Poll::Pending if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Exchange {
    /// The body is complete.
    fn end(&mut self) {
        let next = if self.is_tunnel() { Receiving::Ended } else { Receiving::Quiet(None) };
        if let Receiving::Body(body) = std::mem::replace(&mut self.receiving, next)
            && let Receiving::Quiet(rest) = &mut self.receiving
        {
            *rest = body.into_unended();
        }
    }
}

impl AsyncWrite for Exchange {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.remember(cx);
        match &mut this.respond {
            Some(respond) => this.sending.poll_write(cx, respond, &this.asked, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// The session's task sends what was written without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends what has no other end: a WebSocket's half, a body without length or chunks. Any other
    /// response ends where its framing says.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Poll::Ready(self.sending.finish())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let reason = if self.is_tunnel() { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        let stream = self.respond.take().filter(|_| !self.sending.is_done());
        self.shared.end(stream.map(|stream| Cut { stream, reason }));
    }
}
