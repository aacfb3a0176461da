//! One exchange on a session, in the shape of an HTTP/1.1 connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::failure::{NotProcessed, never_sent};
use super::receiving::Receiving;
use super::sending::Sending;
use super::session::Place;

/// How long the end of a response may follow its last byte. Most servers send it in the same
/// packet; those that count resets (CVE-2023-44487) are not sent one for a response that was fine.
const LINGER: Duration = Duration::from_secs(1);

/// An exchange: one request is written to it as on an HTTP/1.1 connection, and its response is read
/// from it. One task polls both halves.
///
/// - The request needs a `Host`. What HTTP/2 has no use for is left out: fields about the
///   connection, chunks, `Upgrade`. An upgrade must be asked for on an HTTP/1.1 connection.
/// - A write is `Pending` while the upstream's windows are full. A failed write means that the
///   upstream takes no more; its response may still be there to be read.
/// - The response has a `Content-Length` if the upstream gave one, or if it has no content; else it
///   is chunked. Trailers are dropped. Only what is read is released to the upstream.
/// - A failed read or write may hold [`NotProcessed`].
///
/// Dropped before its end, the upstream is told at once with RST_STREAM (CANCEL).
pub struct Exchange {
    sending: Sending,
    receiving: Receiving,
    /// `None` only while it is dropped.
    place: Option<Place>,
}

impl Exchange {
    /// Takes a place.
    pub(super) fn new(sender: SendRequest<Bytes>, place: Place) -> Self {
        let (sending, receiving) = (Sending::new(sender), Receiving::new());
        Self { sending, receiving, place: Some(place) }
    }

    /// Writes from the head on; gives how many bytes were taken.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if !self.sending.is_at_head() {
            return self.sending.poll_body(cx, data);
        }
        let place = self.place.as_ref().expect("it is taken only by drop");
        match self.sending.head(data, &place.shared) {
            Ok((taken, sent)) => {
                if let Some(sent) = sent {
                    self.receiving.expect(sent);
                }
                Poll::Ready(Ok(taken))
            }
            Err(error) => {
                let kind = error.kind();
                let proved = NotProcessed::is_proved_by(&error);
                let again = if proved { never_sent() } else { kind.into() };
                self.receiving.fail(again);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl AsyncRead for Exchange {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.receiving.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Exchange {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, data)
    }

    /// The session's task sends what was written without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A request ends where its framing says; a connection cannot be closed by half here.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(stream) = self.receiving.take_unended() else { return };
        let place = self.place.take();
        if !self.sending.is_done() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, end(stream, place)));
        }
    }
}

/// Waits for the end of a response whose last byte was read. It keeps its place: the upstream
/// counts the stream until then.
async fn end(mut stream: RecvStream, place: Option<Place>) {
    while let Some(Ok(_)) = stream.data().await {}
    drop((stream, place));
}
