//! One connection from a client: its task, from the preface to the last GOAWAY.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Sleep, timeout};

use super::exchange::Exchange;
use super::flood::Flood;
use super::limits::{MALFORMED, SessionLimits};
use super::request::{self, Refusal};
use super::response;
use super::shared::Shared;
use super::tunnel::Tunnel;
use super::wire::Wire;
use crate::clock;
use crate::http1::head::RequestHead;
use crate::http2::keep_alive::{Due, KeepAlive};

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client has closed it.
    Closed,
    /// It did not say that it speaks HTTP/2, or not in time.
    NoPreface,
    /// It was of no use for as long as [`SessionLimits::idle`] says.
    Idle,
    /// The process drains, and all exchanges are over.
    Drained,
    /// The client did not answer a ping.
    Dead,
    /// The client did not send the rest of a head in time. No other frame may stand within one, so
    /// nothing can come of the connection's other exchanges either.
    SlowHead,
    /// The client sent too much of something.
    Flood(Flood),
    /// The client broke the protocol, or the connection failed.
    Failed,
}

/// Serves one connection to its end; the preface is still to be read from it.
///
/// For each request `handle` is called; its future is spawned as a task of its own and outlives the
/// connection by no more than it needs to see that it is lost. `shutdown` turns true when the
/// process drains: then open exchanges run on, and no new ones begin. Dropped, all is over at once.
pub async fn serve<IO, F, Fut>(
    io: IO,
    limits: &SessionLimits,
    mut shutdown: watch::Receiver<bool>,
    mut handle: F,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(RequestHead, Exchange) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let shared = Arc::new(Shared::default());
    let wire = Wire::new(io, Arc::clone(&shared));
    let handshake = timeout(limits.handshake, limits.builder().handshake(wire));
    let Ok(Ok(connection)) = handshake.await else {
        return shared.flood().map_or(Ended::NoPreface, Ended::Flood);
    };
    let mut session = Session::new(connection, limits, shared);
    loop {
        let step = tokio::select! {
            biased;
            step = poll_fn(|cx| session.poll(cx)) => step,
            // An error means that the process is at its end.
            _ = shutdown.wait_for(|&ends| ends), if session.leaving.is_none() => {
                session.leave(Ended::Drained);
                continue;
            }
        };
        match step {
            Step::Request(request, respond) => {
                if let Some((head, exchange)) = session.accept(*request, respond) {
                    tokio::spawn(handle(head, exchange));
                }
            }
            Step::Ended(ended) => return ended,
        }
    }
}

/// What the connection brought.
enum Step {
    Request(Box<Request<RecvStream>>, SendResponse<Bytes>),
    Ended(Ended),
}

struct Session<'a, IO: AsyncRead + AsyncWrite + Unpin> {
    connection: Connection<Wire<IO>, Bytes>,
    pings: PingPong,
    alive: KeepAlive,
    limits: &'a SessionLimits,
    shared: Arc<Shared>,
    /// [`Shared::heard_bytes`] when it was last looked at.
    heard: u64,
    /// [`Shared::told_bytes`] likewise.
    told: u64,
    /// Since when it is of no use, if it is of none.
    idle_since: Option<Instant>,
    /// Why the client was told that the connection ends.
    leaving: Option<Ended>,
    /// When.
    left_at: Instant,
    /// When it is closed if the client is not quicker, once it is of no use.
    close_at: Option<Instant>,
    /// It is being closed, whatever is open.
    is_cut_off: bool,
    /// Requests that were reset because they are malformed.
    malformed: u32,
    sleep: Pin<Box<Sleep>>,
    /// What `sleep` is set to.
    armed: Option<Instant>,
}

impl<'a, IO: AsyncRead + AsyncWrite + Unpin> Session<'a, IO> {
    fn new(
        mut connection: Connection<Wire<IO>, Bytes>,
        limits: &'a SessionLimits,
        shared: Arc<Shared>,
    ) -> Self {
        let now = clock::now();
        Self {
            pings: connection.ping_pong().expect("it is taken once"),
            connection,
            alive: KeepAlive::new(limits.ping_after, limits.pong_within, now),
            limits,
            shared,
            heard: 0,
            told: 0,
            idle_since: Some(now),
            leaving: None,
            left_at: now,
            close_at: None,
            is_cut_off: false,
            malformed: 0,
            sleep: Box::pin(tokio::time::sleep_until(now.into())),
            armed: None,
        }
    }

    /// Moves bytes until there is a request, or the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.shared.register(cx.waker());
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    return Poll::Ready(Step::Request(Box::new(request), respond));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Step::Ended(self.failed(&error)));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Step::Ended(self.leaving.unwrap_or(Ended::Closed)));
                }
                Poll::Pending => {}
            }
            if self.stop_flood() || self.cut() {
                continue;
            }
            let now = clock::now();
            self.note_life(now);
            self.note_idleness(now);
            // It is read to make room for the next ping.
            let _ = self.pings.poll_pong(cx);
            self.arm_earlier(now);
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(ended) = self.on_time(clock::now()) {
                return Poll::Ready(Step::Ended(ended));
            }
        }
    }

    /// What an error of h2's means.
    fn failed(&self, error: &h2::Error) -> Ended {
        tracing::debug!(%error, "HTTP/2 connection failed");
        match self.leaving {
            Some(ended @ (Ended::Flood(_) | Ended::Dead | Ended::SlowHead)) => ended,
            _ if error.reason() == Some(Reason::ENHANCE_YOUR_CALM) && !error.is_remote() => {
                Ended::Flood(Flood::Protocol)
            }
            _ => Ended::Failed,
        }
    }

    /// Ends the connection at once if the client sends too much of something; says whether it has
    /// just been done.
    fn stop_flood(&mut self) -> bool {
        let Some(flood) = self.shared.flood() else { return false };
        if matches!(self.leaving, Some(Ended::Flood(_))) {
            return false;
        }
        self.leaving = Some(Ended::Flood(flood));
        self.cut_off(Reason::ENHANCE_YOUR_CALM, clock::now());
        true
    }

    /// Resets the streams of exchanges that were broken off; says whether there were any.
    fn cut(&mut self) -> bool {
        let mut cuts = self.shared.cuts();
        for cut in &mut cuts {
            cut.stream.send_reset(cut.reason);
        }
        !cuts.is_empty()
    }

    fn note_life(&mut self, now: Instant) {
        let heard = self.shared.heard_bytes();
        if heard != self.heard {
            self.heard = heard;
            self.alive.heard(now);
        }
    }

    /// Idle is a connection without exchanges, of which h2 sends nothing any more, either: a slow
    /// client may need its time for the end of a response that nobody else waits for.
    fn note_idleness(&mut self, now: Instant) {
        let told = self.shared.told_bytes();
        let moves = told != self.told;
        self.told = told;
        if self.shared.open() > 0 {
            self.idle_since = None;
        } else if moves && (self.shared.is_blocked() || self.connection.has_streams()) {
            self.idle_since = Some(now);
        } else {
            self.idle_since.get_or_insert(now);
        }
        if self.leaving.is_some() && !self.is_cut_off {
            self.close_at =
                self.idle_since.map(|since| since.max(self.left_at) + self.limits.farewell);
        }
    }

    /// A head is translated, or refused.
    fn accept(
        &mut self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Option<(RequestHead, Exchange)> {
        let ended = request.body().is_end_stream();
        match request::translate(&request, ended, Tunnel::new) {
            Ok(translated) => {
                let shared = Arc::clone(&self.shared);
                let begun = Exchange::new(translated, request.into_body(), respond, shared);
                self.idle_since = None;
                Some(begun)
            }
            Err(Refusal::Status(status)) => {
                // Fails only for a stream that is reset.
                let _ = respond.send_response(response::bare(status), true);
                None
            }
            Err(Refusal::Malformed(what)) => {
                tracing::debug!(what, "HTTP/2 request is malformed");
                respond.send_reset(Reason::PROTOCOL_ERROR);
                self.malformed += 1;
                if self.malformed > MALFORMED {
                    self.shared.flooded(Flood::Protocol);
                }
                None
            }
        }
    }

    /// Sets the timer if something is due before it fires. When it fires, it is set anew.
    fn arm_earlier(&mut self, now: Instant) {
        let alive = self.alive.next(now);
        let idle = self.idle_since.filter(|_| self.leaving.is_none());
        let idle = idle.map(|since| since + self.limits.idle);
        let next =
            [idle, self.close_at, self.head_due()].into_iter().flatten().fold(alive, Instant::min);
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            self.sleep.as_mut().reset(next.into());
        }
    }

    /// When a head is late.
    fn head_due(&self) -> Option<Instant> {
        let since = self.shared.head_since().filter(|_| !self.is_cut_off);
        since.map(|since| since + self.limits.handshake)
    }

    /// Does what is due; gives the end if this is it.
    fn on_time(&mut self, now: Instant) -> Option<Ended> {
        self.armed = None;
        if self.close_at.is_some_and(|at| at <= now) {
            if self.is_cut_off {
                return self.leaving;
            }
            self.cut_off(Reason::NO_ERROR, now);
        }
        if self.head_due().is_some_and(|at| at <= now) {
            self.leaving = Some(Ended::SlowHead);
            self.cut_off(Reason::ENHANCE_YOUR_CALM, now);
        }
        let streams = usize::from(self.connection.has_streams());
        match self.alive.due(streams, now) {
            Due::Nothing => {}
            // Refused only while another is under way, and a pong counts as any other word.
            Due::Ping => {
                let _ = self.pings.send_ping(Ping::opaque());
            }
            Due::Dead => {
                tracing::debug!("HTTP/2 connection is dead: no answer to a ping");
                return Some(Ended::Dead);
            }
        }
        let idle = self.idle_since.is_some_and(|since| since + self.limits.idle <= now);
        if idle && self.leaving.is_none() {
            self.leave(Ended::Idle);
        }
        None
    }

    /// Tells the client that the connection ends: RFC 9113 §6.8 has a server say so with the
    /// highest number of a stream first, and with the true one a round trip later, so that requests
    /// on their way are not lost.
    fn leave(&mut self, reason: Ended) {
        self.leaving = Some(reason);
        self.left_at = clock::now();
        self.connection.graceful_shutdown();
    }
    /// Ends all at once. The client may not read; it is not waited for longer than
    /// [`SessionLimits::farewell`].
    fn cut_off(&mut self, reason: Reason, now: Instant) {
        self.is_cut_off = true;
        self.close_at = Some(now + self.limits.farewell);
        self.connection.abrupt_shutdown(reason);
    }
}
