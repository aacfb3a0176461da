//! A connection to an endpoint: counted, whatever becomes of it, and able to tell what the other
//! end has received.
//!
//! An idle one is dropped when its peer closes it, when it was idle too long, and so on. It is
//! dropped in every case: so it does the counting.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pingora::protocols::l4::ext::get_tcp_info;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::delivery::{Acknowledged, Delivery, judge};
use super::endpoint::{Count, Endpoint};
use super::transport::Transport;
use crate::clock;
use crate::telemetry::metrics::PoolClose;

/// `tcpi_state` of a connection that nobody has closed (linux/tcp_states.h).
const TCP_ESTABLISHED: u8 = 1;

/// An acknowledgement that comes sooner was not delayed.
const UNDELAYED: Duration = Duration::from_millis(30);

/// How long to wait for the kernel to know whether a closed upstream received what was sent: a
/// round trip to the other side of the world.
const PROOF_WAIT: Duration = Duration::from_millis(300);

/// A connection to an endpoint.
pub struct Connection {
    transport: Transport,
    endpoint: Arc<Endpoint>,
    /// None for a place on an HTTP/2 connection, which counts itself.
    count: Option<Count>,
    /// When it is too old to be used again.
    retires: Option<Instant>,
    idle: Option<Idle>,
    /// How long it was idle before the exchange.
    idled: Duration,
    /// What the kernel said when the exchange began; none if it cannot say.
    before: Option<Acknowledged>,
    /// Bytes of the exchange that the kernel took.
    accepted: u64,
}

/// A connection's time among the idle ones.
struct Idle {
    since: Instant,
    limit: Option<Duration>,
    /// Why it cannot be used any more.
    ended: Option<PoolClose>,
}

impl Connection {
    /// Counts a new one as active; it may serve until `retires`.
    pub(super) fn new(
        transport: Transport,
        endpoint: Arc<Endpoint>,
        retires: Option<Instant>,
    ) -> Self {
        let is_shared = matches!(transport, Transport::Http2(_));
        let mut connection = Self {
            transport,
            count: (!is_shared).then(|| Count::active(Arc::clone(&endpoint))),
            endpoint,
            retires,
            idle: None,
            idled: Duration::ZERO,
            before: None,
            accepted: 0,
        };
        connection.begin();
        connection
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether it is a place on an HTTP/2 connection: good for one exchange.
    pub fn is_shared(&self) -> bool {
        self.count.is_none()
    }

    /// Whether the other end has neither closed it nor said anything, as far as the runtime has
    /// heard.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.poll_byte(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Reads what should not come: says whether it did, or else the end.
    fn poll_byte(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.transport).poll_read(cx, &mut buffer);
        read.map(|_| !buffer.filled().is_empty())
    }

    /// Whether the other end has closed it while it was idle, or said something; if not, the task
    /// of `cx` is woken when it does.
    pub(super) fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(is_stray) = self.poll_byte(cx) else { return false };
        let reason = if is_stray { PoolClose::Unclean } else { PoolClose::PeerClosed };
        self.idle.iter_mut().for_each(|idle| idle.ended = Some(reason));
        true
    }

    /// When it will have been idle for too long, if ever.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let Idle { since, limit, .. } = self.idle.as_ref()?;
        since.checked_add((*limit)?)
    }

    /// Among the idle ones from `now` on for at most `limit`, if its endpoint has fewer than `most`
    /// there.
    pub(super) fn rest(&mut self, most: usize, limit: Option<Duration>, now: Instant) -> bool {
        let rests = self.count.as_mut().is_some_and(|count| count.rest(most));
        self.idle = rests.then_some(Idle { since: now, limit, ended: None });
        rests
    }

    /// In use again, if it is still good: nobody has closed it, it is not too old, and it was
    /// not idle for longer than `limit`, which may have been learned since.
    pub(super) fn wake(&mut self, limit: Option<Duration>, now: Instant) -> bool {
        // One question to the kernel serves both this and the exchange that begins.
        let kernel = self.acknowledged();
        // The runtime may not have heard of a FIN yet that is already here.
        let is_open = kernel.is_none_or(|now| now.state == TCP_ESTABLISHED);
        let usable = is_open && self.is_quiet();
        let Some(Idle { since, ended, .. }) = &mut self.idle else { return false };
        let idle_for = now.saturating_duration_since(*since);
        *ended = ended.or(match () {
            () if self.retires.is_some_and(|at| at <= now) => Some(PoolClose::MaxLifetime),
            () if !usable => Some(PoolClose::PeerClosed),
            () if limit.is_some_and(|limit| idle_for >= limit) => Some(PoolClose::IdleTimeout),
            () => None,
        });
        if ended.is_some() {
            return false;
        }
        self.idle = None;
        self.idled = idle_for;
        self.count.iter_mut().for_each(Count::wake);
        self.begin_at(kernel);
        true
    }

    /// Whether it was idle for so long that the upstream may be closing it just now. A write to a
    /// unix socket that is closed fails at once.
    pub fn may_be_stale(&self, now: Instant) -> bool {
        self.idled >= self.endpoint.suspicious(now) && self.transport.tcp().is_some()
    }

    /// The upstream had closed it by the time it was used: one more idle close to learn from.
    pub fn was_stale(&self) {
        if self.is_shared() {
            return;
        }
        self.endpoint().learn(self.idled);
    }

    /// How long it may still be kept, if not for ever.
    pub(super) fn life_left(&self, now: Instant) -> Option<Duration> {
        Some(self.retires?.saturating_duration_since(now))
    }

    /// Whether the upstream provably received nothing of the exchange that has just failed here;
    /// `tells` says that the kernel can know: the upstream's FIN came before anything else, or the
    /// upstream acknowledges at once what it receives.
    pub async fn was_undelivered(&self, tells: bool) -> bool {
        if self.accepted == 0 {
            return true;
        }
        let Some(before) = self.before.filter(|_| tells) else { return false };
        let deadline = clock::now() + PROOF_WAIT;
        loop {
            let Some(now) = self.acknowledged() else { return false };
            match judge(before, now) {
                Delivery::None => return true,
                Delivery::Possible => return false,
                Delivery::Open if clock::now() >= deadline => return false,
                Delivery::Open => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// How soon an acknowledgement comes if it was not delayed: less than the shortest delay (40 ms
    /// on Linux), and a round trip.
    pub fn patience(&self) -> Duration {
        let info = self.transport.tcp().and_then(|socket| get_tcp_info(socket).ok());
        let round_trip = info.map_or(0, |info| info.tcpi_rtt);
        UNDELAYED + Duration::from_micros(u64::from(round_trip))
    }

    /// Whether everything that was written has been acknowledged, as far as the kernel says.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged().is_none_or(|now| now.outstanding == 0)
    }

    /// An exchange begins, or that part of it without which the rest is of no use.
    pub fn begin(&mut self) {
        self.begin_at(self.acknowledged());
    }

    fn begin_at(&mut self, kernel: Option<Acknowledged>) {
        self.before = kernel;
        self.accepted = 0;
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        let info = get_tcp_info(self.transport.tcp()?).ok()?;
        Some(Acknowledged {
            bytes: info.tcpi_bytes_acked,
            outstanding: info.tcpi_unacked + u32::from(info.tcpi_notsent_bytes > 0),
            state: info.tcpi_state,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(Idle { since, limit, ended }) = &self.idle else { return };
        let now = clock::now();
        let idle_for = now.saturating_duration_since(*since);
        if *ended == Some(PoolClose::PeerClosed) {
            self.endpoint().learn(idle_for);
        }
        let reason = ended.unwrap_or_else(|| {
            if self.retires.is_some_and(|at| at <= now) {
                PoolClose::MaxLifetime
            } else if limit.is_some_and(|limit| idle_for >= limit) {
                PoolClose::IdleTimeout
            } else {
                // Its endpoint may keep none any more.
                PoolClose::Full
            }
        });
        self.endpoint().metrics().pool_closed(reason).inc();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.transport).poll_write(cx, data);
        if let Poll::Ready(Ok(count)) = &polled {
            self.accepted += *count as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
