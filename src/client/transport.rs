//! What carries a client's requests and their answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::http2::Exchange;
use super::socket::Socket;

/// A connection as HTTP/1.1 sees it.
pub enum Transport {
    /// The bare socket.
    Plain(Socket),
    /// TLS over it.
    Tls(Box<TlsStream<Socket>>),
    /// One request of an HTTP/2 connection.
    Http2(Box<Exchange>),
}

impl From<Exchange> for Transport {
    fn from(exchange: Exchange) -> Self {
        Self::Http2(Box::new(exchange))
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl From<TlsStream<Socket>> for Transport {
    fn from(stream: TlsStream<Socket>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Transport {
    /// The socket, if this is the only user of it.
    pub(super) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Http2(_) => None,
        }
    }

    /// Lets sent bytes stay unacknowledged for `limit`; `None` is as long as the system allows.
    pub fn allow_unacknowledged(&self, limit: Option<Duration>) {
        if let Some(socket) = self.socket() {
            socket.allow_unacknowledged(limit);
        }
    }

    /// Whether the other end is closed, as far as that can be known without reading.
    pub(super) fn has_left(&mut self) -> bool {
        match self {
            Self::Http2(exchange) => exchange.has_left(),
            other => other.socket().is_some_and(Socket::has_left),
        }
    }

    fn io(&mut self) -> Pin<&mut dyn Io> {
        match self {
            Self::Plain(socket) => Pin::<&mut Socket>::new(socket),
            Self::Tls(stream) => Pin::<&mut TlsStream<Socket>>::new(stream),
            Self::Http2(exchange) => Pin::<&mut Exchange>::new(exchange),
        }
    }
}

/// What all of them can do.
trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().io().poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().io().poll_shutdown(cx)
    }
}
