//! A client's connection: what carries it, what was read ahead, and the ways to end it.
//!
//! [`socket`] is what was accepted, [`proxy_header`] what a proxy in front may have put before
//! everything else, [`tls`] the server's side of TLS, [`http2`] one connection for many requests,
//! [`transport`] whatever carries requests, in the shape of an HTTP/1.1 connection, [`alarm`] the
//! one timer of whoever waits for it.

pub mod alarm;
pub mod http2;
pub mod proxy_header;
pub mod socket;
pub mod tls;
mod transport;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::alarm::Alarm;
use self::socket::Socket;
pub use self::transport::Transport;
use crate::http1::body::{BodyDecoder, Piece};
use crate::http1::framing::Framing;
use crate::scratch;

/// Bytes of a next request that are read ahead while a response is under way. Reading on is what
/// shows that the client has left; a client that pipelines more than this is watched no further.
pub const READ_AHEAD_BYTES: usize = 16 * 1024;

/// How long a connection that is closed with unread input is still read from. Closing at once would
/// send a reset, and that can take the response away from the client (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How often [`Client::abort`] looks whether the client has got everything.
const ABORT_LOOK: Duration = Duration::from_millis(10);

/// How long it waits at most, also for a client that takes a little each time.
const ABORT_LIMIT: Duration = Duration::from_secs(60);

/// How often to look whether a client has left whose stream is not read.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection that has just been accepted.
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// The other end; a unix socket's has no address.
    pub peer: Option<SocketAddr>,
}

/// One client connection.
pub struct Client {
    transport: Transport,
    /// Read, but not used yet.
    pub inbox: Vec<u8>,
    /// Wakes the task that serves it.
    pub alarm: Alarm,
}

/// What came of waiting for more input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// There is more.
    More,
    /// The connection's end.
    End,
    /// Nothing came in time.
    Late,
}

impl Client {
    /// Takes a connection; what was read of a bare socket before is its first input.
    pub fn new(transport: impl Into<Transport>) -> Self {
        let mut transport = transport.into();
        let inbox = match &mut transport {
            Transport::Plain(socket) => socket.take_ahead(),
            _ => Vec::new(),
        };
        Self { transport, inbox, alarm: Alarm::default() }
    }

    /// What carries it, with what was read of it and not used: only a bare socket can take that
    /// back.
    pub fn into_transport(self) -> Transport {
        let Self { mut transport, inbox, .. } = self;
        if let Transport::Plain(socket) = &mut transport {
            socket.put_back(inbox);
        }
        transport
    }

    /// Waits for more input; it is appended to the inbox. `false` is the connection's end.
    pub async fn read_more(&mut self) -> bool {
        let read =
            poll_fn(|cx| scratch::with(|scratch| self.poll_read_ahead(cx, &mut scratch.read)));
        matches!(read.await, Ok(count) if count > 0)
    }

    /// The same, for no longer than until `deadline`.
    pub fn read_more_by(&mut self, deadline: Instant) -> impl Future<Output = Input> {
        self.wait_until(deadline);
        poll_fn(|cx| self.poll_more(cx))
    }

    /// Has [`Self::poll_more`] wait until `deadline` from now on.
    pub fn wait_until(&mut self, deadline: Instant) {
        self.alarm.silence();
        self.alarm.ring_by(deadline);
    }

    /// Waits for more input; it is appended to the inbox.
    pub fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        let read = scratch::with(|scratch| self.poll_read_ahead(cx, &mut scratch.read));
        match read {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Input::More),
            Poll::Ready(_) => Poll::Ready(Input::End),
            Poll::Pending => self.alarm.poll(cx).map(|()| Input::Late),
        }
    }

    /// Reads and forgets a body that nobody wants, of `most` bytes with its framing; says whether
    /// it came to its end within `limit`.
    pub async fn skip(&mut self, framing: Framing, most: usize, limit: Duration) -> bool {
        let mut body = BodyDecoder::new(framing);
        let mut left = most;
        let all = async {
            loop {
                let mut rest = &self.inbox[..];
                let is_whole = loop {
                    match body.next(&mut rest) {
                        Ok(Piece::Data(_)) => {}
                        Ok(Piece::End) => break true,
                        Ok(Piece::More) => break false,
                        Err(_) => return false,
                    }
                };
                let used = self.inbox.len() - rest.len();
                self.inbox.drain(..used);
                self.inbox.shrink_to_fit();
                let Some(still) = left.checked_sub(used) else { return false };
                left = still;
                if is_whole || !self.read_more().await {
                    return is_whole;
                }
            }
        };
        tokio::time::timeout(limit, all).await.unwrap_or(false)
    }

    /// Comes back when the client has left. What it sends in the meantime is kept.
    pub async fn gone(&mut self) {
        while self.inbox.len() < READ_AHEAD_BYTES {
            if !self.read_more().await {
                return;
            }
        }
        while !self.has_left() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
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
        poll_read(&mut self.transport, cx, space)
    }

    /// Writes from the front of `data`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, data)
    }

    /// Closes our half: the client sees the end of what we send.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    /// Passes on what a layer in between (TLS) may hold.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    /// Writes everything, or gives up after `limit`.
    pub async fn write_all(&mut self, data: &[u8], limit: Duration) -> io::Result<()> {
        let write = async {
            self.transport.write_all(data).await?;
            self.transport.flush().await
        };
        tokio::time::timeout(limit, write).await.map_err(io::Error::from)?
    }

    /// Ends the connection so that the client gets all that was written, then a clean end.
    pub async fn close(mut self) {
        let linger = async {
            self.transport.shutdown().await?;
            // Read and forgotten; a peer that goes on sending meets the deadline.
            while poll_fn(|cx| {
                scratch::with(|scratch| poll_read(&mut self.transport, cx, &mut scratch.read))
            })
            .await?
                > 0
            {}
            io::Result::Ok(())
        };
        // Either way the connection is dropped next.
        let _ = tokio::time::timeout(LINGER, linger).await;
    }

    /// Whether the client's end is closed, also when there is input that was not read.
    pub fn has_left(&mut self) -> bool {
        self.transport.has_left()
    }

    /// Lets the client take nothing for `limit` (`None`: for ever) before the kernel gives up on
    /// it. A listener's `TCP_USER_TIMEOUT` is for clients that vanished, but the kernel applies it
    /// to those that do not read, too.
    pub fn allow_stall(&self, limit: Option<Duration>) {
        self.transport.allow_unacknowledged(limit);
    }

    /// Ends the connection so that the client cannot take it for the end of the body: with a reset
    /// instead of a FIN. Needed where the connection's end is the body's only end.
    ///
    /// A reset overtakes what is still on its way, so it waits until the client has got that, or
    /// has taken nothing for `patience`.
    pub async fn abort(self, patience: Option<Duration>) {
        // In HTTP/2 every end that is not the message's is a reset.
        let Some(socket) = self.transport.socket() else { return };
        let mut last = socket.outstanding();
        let (mut waited, mut whole) = (Duration::ZERO, Duration::ZERO);
        let patience = patience.unwrap_or(ABORT_LIMIT);
        while last.is_some() && waited < patience && whole < ABORT_LIMIT {
            tokio::time::sleep(ABORT_LOOK).await;
            whole += ABORT_LOOK;
            let now = socket.outstanding();
            waited = if now == last { waited + ABORT_LOOK } else { Duration::ZERO };
            last = now;
        }
        socket.reset_on_close();
    }
}

/// Reads from any stream into `space`; 0 is the end.
pub fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(space);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
