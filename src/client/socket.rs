//! An accepted socket.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{setsockopt, sockopt};
use pingora::protocols::l4::ext::get_tcp_info;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// `tcpi_state` of a connection whose other end is closed (linux/tcp_states.h).
const TCP_CLOSED_STATES: [u8; 3] =
    [7 /* CLOSE */, 8 /* CLOSE_WAIT */, 9 /* LAST_ACK */];

/// Read at once while nobody knows yet what is spoken.
const PIECE_BYTES: usize = 512;

/// A socket, and what was read of it to see what it speaks.
pub struct Socket {
    stream: Stream,
    /// Comes before what the stream still gives.
    ahead: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { stream: Stream::Tcp(stream), ahead: Vec::new() }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), ahead: Vec::new() }
    }
}

impl Socket {
    /// What was read ahead; it is nobody's from now on.
    pub fn take_ahead(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ahead)
    }

    /// Lets `bytes` be read again, before everything else.
    pub fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.append(&mut self.ahead);
        self.ahead = bytes;
    }

    /// Waits for more input behind what was read ahead, and gives all of it; an unexpected end is
    /// an error.
    pub async fn look_ahead(&mut self) -> io::Result<&[u8]> {
        let mut piece = [0; PIECE_BYTES];
        let count = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut piece).await?,
            Stream::Unix(stream) => stream.read(&mut piece).await?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead.extend_from_slice(&piece[..count]);
        Ok(&self.ahead)
    }

    /// Forgets the first `count` bytes of what was read ahead.
    pub fn skip(&mut self, count: usize) {
        self.ahead.drain(..count);
    }

    /// Whether the other end is closed, also when there is input that was not read.
    pub fn has_left(&self) -> bool {
        match &self.stream {
            Stream::Tcp(_) => get_tcp_info(self.fd())
                .is_ok_and(|info| TCP_CLOSED_STATES.contains(&info.tcpi_state)),
            // Without waiting; a hang-up is reported unasked.
            Stream::Unix(_) => {
                let mut asked = [PollFd::new(self.fd(), PollFlags::empty())];
                poll(&mut asked, 0).is_ok_and(|count| count > 0)
            }
        }
    }

    /// Lets sent bytes stay unacknowledged for `limit`; `None` is as long as the system allows.
    pub fn allow_unacknowledged(&self, limit: Option<Duration>) {
        let millis = limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(0));
        // Fails where there is no such limit to lift.
        let _ = setsockopt(self.fd(), sockopt::TcpUserTimeout, &millis);
    }

    /// What was written and the other end has not got: bytes without acknowledgement and bytes that
    /// were not sent. `None` is nothing, or nobody to get it.
    pub fn outstanding(&self) -> Option<(u32, u32)> {
        let info = get_tcp_info(self.fd()).ok()?;
        let bytes = (info.tcpi_unacked, info.tcpi_notsent_bytes);
        (bytes != (0, 0) && !TCP_CLOSED_STATES.contains(&info.tcpi_state)).then_some(bytes)
    }

    /// Makes the end of this socket a reset.
    pub fn reset_on_close(&self) {
        let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // Fails where there is no connection any more.
        let _ = setsockopt(self.fd(), sockopt::Linger, &reset);
    }

    fn fd(&self) -> RawFd {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            if self.ahead.is_empty() {
                self.ahead = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A socket holds nothing back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
