//! The bytes beneath a connection: counted, and stopped in a flood.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::flood::FrameCounter;
use super::limits::CONNECTION_WINDOW_BYTES;
use super::shared::Shared;
use crate::clock;

/// How long a connection that we have ended is still read from. What the client sends meanwhile,
/// room for what it has just read, would be answered with a reset otherwise, and that can take the
/// last bytes away from it.
const LINGER: Duration = Duration::from_secs(1);

/// So many bytes are read meanwhile: more than an honest client has on its way. A flood that h2 has
/// stopped goes on as fast as it is read.
const LINGER_BYTES: usize = 2 * CONNECTION_WINDOW_BYTES as usize;

/// Pieces that are thrown away before the worker's other tasks get their turn.
const LINGER_TURNS: usize = 16;

/// A connection that is watched as it is read.
pub(super) struct Wire<IO> {
    io: IO,
    frames: FrameCounter,
    shared: Arc<Shared>,
    /// What `shared` knows of the head that is awaited.
    awaited: Option<Instant>,
    /// The client's end has come, or the connection is broken.
    is_over: bool,
    /// Until when it is read after our end.
    linger: Option<Pin<Box<Sleep>>>,
    /// What was read after it.
    lingered: usize,
}

impl<IO> Wire<IO> {
    /// Around a connection of which nothing was read.
    pub(super) fn new(io: IO, shared: Arc<Shared>) -> Self {
        let frames = FrameCounter::new(clock::now());
        Self { io, frames, shared, awaited: None, is_over: false, linger: None, lingered: 0 }
    }

    /// Only a client that is waited for is late with its head, not one whose bytes lie unread.
    fn await_head(&mut self, since: Option<Instant>) {
        if self.awaited != since {
            self.awaited = since;
            self.shared.awaits_head(since);
        }
    }

    fn wrote(&self, polled: &Poll<io::Result<usize>>, of: usize) {
        match polled {
            Poll::Ready(Ok(count)) => self.shared.told(*count, of),
            Poll::Pending => self.shared.told(0, of),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<IO: AsyncRead + Unpin> Wire<IO> {
    /// Reads and forgets, to the client's end or the deadline.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 4096];
        for _ in 0..LINGER_TURNS {
            let is_enough = self.lingered > LINGER_BYTES;
            if self.is_over || is_enough || self.shared.flood().is_some() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    let linger =
                        self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
                    return linger.as_mut().poll(cx);
                }
                Poll::Ready(read) => {
                    self.lingered += buffer.filled().len();
                    self.is_over = read.is_err() || buffer.filled().is_empty();
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.shared.flood().is_some() {
            // Nothing more is wanted. The session, whose task this is, looks at it next.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buffer) else {
            let since = self.frames.block_since();
            self.await_head(since);
            return Poll::Pending;
        };
        self.await_head(None);
        let count = buffer.filled().len() - before;
        self.is_over = read.is_err() || count == 0;
        read?;
        let read = self.frames.read(&buffer.filled()[before..], clock::now());
        self.shared.heard(count);
        if let Err(flood) = read {
            self.shared.flooded(flood);
            // h2 must not act on it either.
            buffer.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, data);
        self.wrote(&polled, data.len());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(&polled, slices.iter().map(|slice| slice.len()).sum());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        self.poll_linger(cx).map(Ok)
    }
}
