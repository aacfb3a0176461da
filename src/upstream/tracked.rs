//! A connection to an endpoint that is counted, whatever becomes of it.
//!
//! pingora's pool drops a connection when its peer closes it, when it was idle too long, and so on,
//! and tells nobody. The connection itself is dropped in every case: so it does the counting.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::endpoint::Endpoint;
use crate::clock;
use crate::telemetry::metrics::PoolClose;

/// A counted connection.
pub struct Tracked {
    inner: Stream,
    endpoint: Arc<Endpoint>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Serving an exchange.
    Active,
    /// In the pool, until then.
    Idle {
        /// When it will have been idle for too long.
        expires: Option<Instant>,
        /// What the pool read from it, which ends it.
        read: Option<PoolClose>,
    },
}

impl Tracked {
    /// Counts a new connection as active.
    pub fn count(inner: Stream, endpoint: Arc<Endpoint>) -> Stream {
        endpoint.metrics().active.inc();
        Box::new(Self { inner, endpoint, state: State::Active })
    }

    /// Marks a connection as idle, for at most `limit`.
    pub fn rest(stream: Stream, limit: Option<Duration>) -> Stream {
        let mut tracked = Self::of(stream);
        tracked.leave();
        let expires = limit.map(|limit| clock::now() + limit);
        tracked.state = State::Idle { expires, read: None };
        tracked.endpoint.metrics().idle.inc();
        tracked.endpoint.idle().fetch_add(1, Ordering::Relaxed);
        tracked
    }

    /// Marks a connection from the pool as active; `None` if something was read from it meanwhile.
    pub fn wake(stream: Stream) -> Option<Stream> {
        let mut tracked = Self::of(stream);
        if matches!(tracked.state, State::Idle { read: Some(_), .. }) {
            return None;
        }
        tracked.leave();
        tracked.state = State::Active;
        tracked.endpoint.metrics().active.inc();
        Some(tracked)
    }

    fn of(stream: Stream) -> Box<Self> {
        stream.into_any().downcast().expect("only counted connections are given to the pool")
    }

    fn leave(&self) {
        match self.state {
            State::Active => self.endpoint.metrics().active.dec(),
            State::Idle { .. } => {
                self.endpoint.metrics().idle.dec();
                self.endpoint.idle().fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.leave();
        if let State::Idle { expires, read } = self.state {
            let expired = expires.is_some_and(|at| at <= clock::now());
            // The pool is larger than all limits together, so it pushes none out.
            let otherwise = if expired { PoolClose::IdleTimeout } else { PoolClose::Full };
            self.endpoint.metrics().pool_closed(read.unwrap_or(otherwise)).inc();
        }
    }
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        // The pool reads an idle connection to learn of its end.
        if let (State::Idle { read, .. }, Poll::Ready(_)) = (&mut self.state, &polled) {
            let stray = buffer.filled().len() > before;
            *read = Some(if stray { PoolClose::Unclean } else { PoolClose::PeerClosed });
        }
        polled
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracked").field(&self.inner).finish()
    }
}

#[async_trait]
impl Shutdown for Tracked {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Tracked {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Tracked {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Tracked {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Tracked {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Tracked {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

#[async_trait]
impl Peek for Tracked {}
