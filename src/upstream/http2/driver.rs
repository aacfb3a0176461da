//! The task that moves the bytes of one session.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::session::Shared;
use super::wire::Wire;
use crate::clock;
use crate::http2::keep_alive::{Due, KeepAlive};

/// Drives a connection until it has ended or is found dead. When it is dropped, so is the
/// connection, and its exchanges hear of it.
pub(super) struct Driver<IO: AsyncRead + AsyncWrite + Unpin> {
    connection: Connection<Wire<IO>, Bytes>,
    pings: PingPong,
    alive: KeepAlive,
    shared: Arc<Shared>,
    /// [`super::wire::Tally::read`] when it was last looked at.
    read: u64,
    sleep: Pin<Box<Sleep>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    /// Takes a connection whose preface was sent.
    pub(super) fn new(
        connection: Connection<Wire<IO>, Bytes>,
        pings: PingPong,
        alive: KeepAlive,
        shared: Arc<Shared>,
    ) -> Self {
        let first = alive.next(clock::now());
        let sleep = Box::pin(tokio::time::sleep_until(first.into()));
        Self { connection, pings, alive, shared, read: 0, sleep }
    }

    /// Waits for the peer's SETTINGS: until h2 knows another number of streams than `not_said`.
    pub(super) async fn settings(&mut self, not_said: usize) -> io::Result<()> {
        poll_fn(|cx| match Pin::new(&mut self.connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
            Poll::Pending if self.connection.max_concurrent_send_streams() != not_said => {
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn note_life(&mut self) {
        let read = self.shared.tally.read();
        if read != self.read {
            self.read = read;
            self.alive.heard(clock::now());
        }
    }

    /// Does what the time demands; `Break` when the peer is dead.
    fn on_time(&mut self, now: Instant) -> Due {
        let due = self.alive.due(self.shared.streams(), now);
        if due == Due::Ping {
            // Refused only while another is under way, and a pong counts as any other word.
            let _ = self.pings.send_ping(Ping::opaque());
        }
        self.sleep.as_mut().reset(self.alive.next(now).into());
        due
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Driver<IO> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "HTTP/2 connection failed");
                }
                return Poll::Ready(());
            }
            self.note_life();
            // It is read to make room for the next ping.
            let _ = self.pings.poll_pong(cx);
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.on_time(clock::now()) == Due::Dead {
                tracing::debug!("HTTP/2 connection is dead: no answer to a ping");
                return Poll::Ready(());
            }
        }
    }
}
