//! One HTTP/2 connection to an upstream, and the places on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use super::driver::Driver;
use super::exchange::Exchange;
use super::wire::{Tally, Wire};
use crate::clock;
use crate::config::model;
use crate::http2::keep_alive::KeepAlive;

/// What one connection may hold and how it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// Requests say `https` in `:scheme`, else `http`.
    pub https: bool,
    /// Exchanges at once, at least 1.
    pub streams: usize,
    /// Response bytes that may wait for the reader of one exchange, 1 to 2^31-1.
    pub stream_window: u32,
    /// With an exchange open, silence after which the upstream is asked whether it is there.
    pub ping_after: Duration,
    /// How long its answer may take before the connection counts as dead.
    pub pong_within: Duration,
}

impl SessionLimits {
    /// From the configuration of a pool; `https` says that there is TLS beneath.
    pub fn new(pool: &model::Pool, https: bool) -> Self {
        Self {
            https,
            streams: pool.streams_per_connection,
            stream_window: u32::try_from(pool.h2_stream_window)
                .map_or(MAX_WINDOW_BYTES, |window| window.min(MAX_WINDOW_BYTES)),
            ping_after: PING_AFTER,
            pong_within: PONG_WITHIN,
        }
    }

    /// The window of all exchanges together. Up to the cap, stalled readers leave room for others.
    fn connection_window(&self) -> u32 {
        let streams = u32::try_from(self.streams).unwrap_or(u32::MAX);
        let all = self.stream_window.saturating_mul(streams);
        all.clamp(DEFAULT_WINDOW_BYTES, MAX_CONNECTION_WINDOW_BYTES.max(self.stream_window))
    }
}

/// Where a connection has many stalled readers, this much of their data is held in memory.
const MAX_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// RFC 9113 §6.9.1: no window may be larger.
const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// RFC 9113 §6.9.2: the connection's window begins with it, and only grows.
const DEFAULT_WINDOW_BYTES: u32 = 65_535;
/// Half of what a firewall gives an idle connection at least, in practice a minute.
const PING_AFTER: Duration = Duration::from_secs(30);
/// An answer from the other side of the world takes a second.
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Largest response head after decompression, as on HTTP/1 connections.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Request bytes that wait in h2 for one exchange: a piece of what the client sent.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// h2 ends a connection when the frames that wait for readers cost more than this many times the
/// window in bookkeeping: 256 bytes for each, less its data. Its default, a half, is spent by two
/// stalled readers of events of 20 bytes, and everybody on the connection would pay. With 16, a
/// window full of events of 15 bytes is accepted on every stream at once.
const SMALL_FRAME_BUDGET: usize = 16;
/// Stands for "no SETTINGS yet" in h2's count of streams: no peer can say it, its number has 32
/// bits.
const NOT_SAID: usize = usize::MAX - 1;

/// One connection. Clones are the same one; it is closed when all are dropped and no exchange is
/// open.
#[derive(Clone)]
pub struct Session {
    sender: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// What the session, its exchanges and its task know together.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: SessionLimits,
    pub(super) tally: Arc<Tally>,
    open: AtomicUsize,
}

impl Shared {
    /// Exchanges that are open.
    pub(super) fn streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Session {
    /// Begins HTTP/2 on a connection that has agreed to it (ALPN, or prior knowledge), and waits
    /// for the peer's SETTINGS, so that a peer that speaks something else is an error here and not
    /// one of the first exchange. The caller has a deadline. From then on a task of its own moves
    /// the bytes; it drops `io` when the connection has ended.
    pub async fn start(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        limits: SessionLimits,
    ) -> io::Result<Self> {
        let tally = Arc::new(Tally::default());
        let wire = Wire::new(io, Arc::clone(&tally));
        let window = limits.connection_window();
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(limits.stream_window)
            .initial_connection_window_size(window)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .data_frame_budget(window as usize * SMALL_FRAME_BUDGET)
            .initial_max_send_streams(NOT_SAID)
            .handshake(wire)
            .await
            .map_err(io::Error::other)?;
        let pings = connection.ping_pong().expect("it is taken once");
        let alive = KeepAlive::new(limits.ping_after, limits.pong_within, clock::now());
        let shared = Arc::new(Shared { limits, tally, open: AtomicUsize::new(0) });
        let mut driver = Driver::new(connection, pings, alive, Arc::clone(&shared));
        driver.settings(NOT_SAID).await?;
        tokio::spawn(driver);
        Ok(Self { sender, shared })
    }

    /// Takes a place for one exchange; it is given back when the exchange is dropped. `None` when
    /// all are taken, by our limit or the peer's, or when the session is closed.
    pub fn open(&self) -> Option<Exchange> {
        if self.is_closed() {
            return None;
        }
        // Beyond the peer's limit h2 would let requests wait inside, where nobody sees them.
        let limit = self.shared.limits.streams.min(self.sender.current_max_send_streams());
        let place = Place::take(&self.shared, limit)?;
        Some(Exchange::new(self.sender.clone(), place))
    }

    /// Exchanges that are open.
    pub fn streams(&self) -> usize {
        self.shared.streams()
    }

    /// Whether it takes no exchange any more: the peer has sent GOAWAY, or the connection is over.
    /// Exchanges that are open may still run on.
    pub fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.sender.clone().poll_ready(&mut cx);
        matches!(ready, std::task::Poll::Ready(Err(_)))
    }
}

/// A place on a session, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
}

impl Place {
    fn take(shared: &Arc<Shared>, limit: usize) -> Option<Self> {
        let more = |open: usize| (open < limit).then_some(open + 1);
        let taken = shared.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Self { shared: Arc::clone(shared) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}
