//! The bytes beneath a session: counted, and read to the end even when nothing can be written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes went over a wire.
#[derive(Debug, Default)]
pub(super) struct Tally {
    read: AtomicU64,
    written: AtomicU64,
}

impl Tally {
    /// Bytes that came.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// Bytes that the connection took from us.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }
}

/// How much was written at some moment.
#[derive(Debug)]
pub(super) struct Mark {
    tally: Arc<Tally>,
    written: u64,
}

impl Mark {
    /// Now.
    pub(super) fn set(tally: &Arc<Tally>) -> Self {
        Self { written: tally.written(), tally: Arc::clone(tally) }
    }

    /// Whether nothing was written since: then what h2 was given since was not sent.
    pub(super) fn is_last(&self) -> bool {
        self.tally.written() == self.written
    }
}

/// A connection that stays readable when a write fails.
///
/// A peer that goes away says why and closes. If a request is just being written, the write fails,
/// and h2 takes that for the end: the GOAWAY that proves that the request was not processed would
/// stay unread in the socket. So what cannot be written is thrown away, and the end is what the
/// read side says.
pub(super) struct Wire<IO> {
    io: IO,
    tally: Arc<Tally>,
    /// A write failed.
    broken: bool,
}

impl<IO> Wire<IO> {
    /// Around a connection.
    pub(super) fn new(io: IO, tally: Arc<Tally>) -> Self {
        Self { io, tally, broken: false }
    }

    /// What h2 is told of a write of `length` bytes.
    fn wrote(&mut self, length: usize, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(count)) if count > 0 || length == 0 => {
                self.tally.written.fetch_add(count as u64, Ordering::Release);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(_) => {
                self.broken = true;
                Poll::Ready(Ok(length))
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        self.tally.read.fetch_add(count as u64, Ordering::Release);
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Ok(data.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, data);
        self.wrote(data.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.broken {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(length, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.broken {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(flushed) => self.broken = flushed.is_err(),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn last_words_are_heard_after_a_failed_write() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"goodbye").await.unwrap();
        drop(theirs);
        let tally = Arc::new(Tally::default());
        let mut wire = Wire::new(ours, Arc::clone(&tally));
        wire.write_all(b"hello").await.expect("a failed write is not the end");
        wire.flush().await.unwrap();
        let mut heard = String::new();
        wire.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "goodbye");
        assert_eq!((tally.written(), tally.read()), (0, 7), "thrown away is not written");
    }
}
