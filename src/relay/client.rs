//! A client's connection: its stream, what was read ahead, and the ways to end it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use pingora::protocols::Stream;
use pingora::protocols::l4::ext::get_tcp_info;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::scratch;

/// Bytes of a next request that are read ahead while a response is under way. Reading on is what
/// shows that the client has left; a client that pipelines more than this is watched no further.
pub const READ_AHEAD_BYTES: usize = 16 * 1024;

/// How long a connection that is closed with unread input is still read from. Closing at once would
/// send a reset, and that can take the response away from the client (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How long [`Client::abort`] waits for the client's kernel to acknowledge what was sent.
const ABORT_WAIT: Duration = Duration::from_millis(200);

/// One client connection.
pub struct Client {
    stream: Stream,
    /// Read, but not used yet.
    pub inbox: Vec<u8>,
}

/// Why no request head came.
#[derive(Debug, PartialEq, Eq)]
pub enum NoHead {
    /// The client closed between two requests: the usual end.
    Closed,
    /// The client closed or reset in the middle of a head.
    Broken,
}

impl Client {
    /// Takes a connection that has just been accepted.
    pub fn new(stream: Stream) -> Self {
        Self { stream, inbox: Vec::new() }
    }

    /// Waits for more input; it is appended to the inbox.
    pub async fn read_more(&mut self) -> Result<(), NoHead> {
        let began = !self.inbox.is_empty();
        let read =
            poll_fn(|cx| scratch::with(|scratch| self.poll_read_ahead(cx, &mut scratch.read)));
        match read.await {
            Ok(count) if count > 0 => Ok(()),
            _ if began => Err(NoHead::Broken),
            _ => Err(NoHead::Closed),
        }
    }

    /// Comes back when the client has left. What it sends in the meantime is kept.
    pub async fn gone(&mut self) {
        while self.inbox.len() < READ_AHEAD_BYTES {
            let read =
                poll_fn(|cx| scratch::with(|scratch| self.poll_read_ahead(cx, &mut scratch.read)));
            if !matches!(read.await, Ok(count) if count > 0) {
                return;
            }
        }
        std::future::pending().await
    }

    fn poll_read_ahead(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_read(cx, space))?;
        self.inbox.extend_from_slice(&space[..count]);
        Poll::Ready(Ok(count))
    }

    /// Reads into `space`; 0 is the end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_read(&mut self.stream, cx, space)
    }

    /// Writes from the front of `data`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    /// Passes on what a layer in between (TLS) may hold.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Writes everything, or gives up after `limit`.
    pub async fn write_all(&mut self, data: &[u8], limit: Duration) -> io::Result<()> {
        let write = async {
            self.stream.write_all(data).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(limit, write).await.map_err(io::Error::from)?
    }

    /// Ends the connection so that the client gets all that was written, then a clean end.
    pub async fn close(mut self) {
        let linger = async {
            self.stream.shutdown().await?;
            // Dropped unread; a peer that goes on sending meets the deadline.
            while poll_fn(|cx| {
                scratch::with(|scratch| poll_read(&mut self.stream, cx, &mut scratch.read))
            })
            .await?
                > 0
            {}
            io::Result::Ok(())
        };
        // Either way the connection is dropped next.
        let _ = tokio::time::timeout(LINGER, linger).await;
    }

    /// Ends the connection so that the client cannot take it for the end of the body: with a reset
    /// instead of a FIN. Needed where the connection's end is the body's only end.
    pub async fn abort(self) {
        let descriptor = self.stream.id();
        // A reset overtakes what is still on its way; give that a moment to arrive.
        let arrived = async {
            while get_tcp_info(descriptor).is_ok_and(|info| info.tcpi_unacked > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(ABORT_WAIT, arrived).await;
        let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = setsockopt(descriptor, sockopt::Linger, &reset) {
            tracing::debug!(%error, "a broken response could not be ended by a reset");
        }
    }
}

/// Reads from any stream into `space`; 0 is the end.
pub fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(space);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
