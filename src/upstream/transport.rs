//! A connection to an endpoint, whatever is beneath.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::http2::Exchange;

/// A connection that speaks HTTP/1.1, or seems to.
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP. Boxed: it is twenty times as large as the others.
    Tls(Box<TlsStream<TcpStream>>),
    /// A place on an HTTP/2 connection.
    Http2(Box<Exchange>),
}

impl Transport {
    /// The descriptor of the TCP socket beneath, for `TCP_INFO`; `None` for a unix socket, and for
    /// an exchange, whose socket is others' as well. It is valid as long as this connection.
    pub fn tcp(&self) -> Option<RawFd> {
        match self {
            Self::Tcp(stream) => Some(stream.as_raw_fd()),
            Self::Tls(stream) => Some(stream.get_ref().0.as_raw_fd()),
            Self::Unix(_) | Self::Http2(_) => None,
        }
    }
}

/// Calls a method of whatever is inside.
macro_rules! each {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Tcp($stream) => $call,
            Transport::Unix($stream) => $call,
            Transport::Tls($stream) => $call,
            Transport::Http2($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pass(transport: &mut Transport, other: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        let mut heard = [0; 4];
        transport.write_all(b"ping").await.unwrap();
        other.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
        other.write_all(b"pong").await.unwrap();
        transport.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
        transport.shutdown().await.unwrap();
        assert_eq!(other.read(&mut heard).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn bytes_pass_whatever_is_beneath() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let descriptor = stream.as_raw_fd();
        let mut tcp = Transport::Tcp(stream);
        assert_eq!(tcp.tcp(), Some(descriptor));
        pass(&mut tcp, &mut listener.accept().await.unwrap().0).await;

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut unix = Transport::Unix(ours);
        assert_eq!(unix.tcp(), None);
        pass(&mut unix, &mut theirs).await;
    }
}
