//! A connection of which something was read already.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outbox::Outbox;

/// Gives bytes that were read before once more, then what the connection says next. So a listener
/// can look at the first bytes and hand the connection to whoever speaks that protocol.
pub struct Rewind<IO> {
    io: IO,
    early: Outbox,
}

impl<IO> Rewind<IO> {
    /// Around `io`, from which `early` was read.
    pub fn new(io: IO, early: &[u8]) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(early);
        Self { io, early: outbox }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewind<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.early.rest().len().min(buffer.remaining());
        if count == 0 {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        buffer.put_slice(&self.early.rest()[..count]);
        self.early.take(count);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewind<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn early_bytes_come_first_whatever_the_reader_asks_for() {
        for size in 1..12 {
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(b" and later").await.unwrap();
            drop(theirs);
            let mut rewind = Rewind::new(ours, b"early");
            let (mut text, mut piece) = (Vec::new(), vec![0; size]);
            loop {
                let count = rewind.read(&mut piece).await.unwrap();
                if count == 0 {
                    break;
                }
                text.extend_from_slice(&piece[..count]);
            }
            assert_eq!(text, b"early and later", "reads of {size}");
        }
    }
}
