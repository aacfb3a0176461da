//! Connections to endpoints: taken from the idle ones or opened, and given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::dial::{Dialled, dial};
use super::endpoint::Endpoint;
use super::tls::Alpn;
use super::transport::Transport;
use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::{ConnectResult, PoolClose};

/// What kind of connection an exchange needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Any.
    Any,
    /// One that speaks HTTP/1.1, for a handshake that leads away from HTTP.
    Http1,
    /// One that nobody has used: the last one was stale.
    Fresh,
}

/// How long opening a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For TCP.
    pub connect: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
}

impl From<&model::Timeouts> for Limits {
    fn from(timeouts: &model::Timeouts) -> Self {
        Self { connect: timeouts.connect, tls: timeouts.tls }
    }
}

/// A connection that is ready for a request.
pub struct Connected {
    /// The connection.
    pub connection: Connection,
    /// It has been idle before.
    pub reused: bool,
    /// When it was found to be ready.
    pub at: Instant,
}

/// A connection to the endpoint: an idle one if there is any and it will do, else a new one.
///
/// This is not pingora's `TransportConnector`, for two reasons. It panics on a machine without CA
/// certificates, which plain connections do not need. And it loses a pooled connection whose idle
/// watcher has not let go of it yet when it is wanted: under load that was every second one.
pub async fn connect(
    endpoint: &Arc<Endpoint>,
    pool: &model::Pool,
    want: Want,
    limits: Limits,
) -> Result<Connected, ConnectResult> {
    let may_reuse = want != Want::Fresh;
    if may_reuse && let Some((connection, at)) = idle(endpoint, pool) {
        return Ok(Connected { connection, reused: true, at });
    }
    if pool.http2 && want != Want::Http1 {
        return share(endpoint, pool, may_reuse, limits).await;
    }
    let dialled = open(endpoint, pool, Alpn::Http1, limits).await?;
    let connection = dialled.into_connection(endpoint, pool)?;
    Ok(Connected { connection, reused: false, at: clock::now() })
}

/// Opens a connection ahead of need.
pub(super) async fn warm(
    endpoint: &Arc<Endpoint>,
    pool: &model::Pool,
    limits: Limits,
) -> Result<(), ConnectResult> {
    let dialled = open(endpoint, pool, Alpn::Http1, limits).await?;
    release(dialled.into_connection(endpoint, pool)?, pool, clock::now());
    Ok(())
}

/// An idle connection that is still good, and when that was found.
fn idle(endpoint: &Endpoint, pool: &model::Pool) -> Option<(Connection, Instant)> {
    loop {
        let mut connection = endpoint.resting().take()?;
        let now = clock::now();
        if connection.wake(endpoint.idle_limit(pool, now), now) {
            return Some((connection, now));
        }
    }
}

/// Keeps a connection for reuse from `now` on, if its endpoint may keep another. Its last exchange
/// must be complete and clean. Must be called inside a runtime.
pub fn release(mut connection: Connection, pool: &model::Pool, now: Instant) {
    let endpoint = Arc::clone(connection.endpoint());
    if connection.is_shared() {
        return;
    }
    let closed = |reason| endpoint.metrics().pool_closed(reason).inc();
    if !connection.is_quiet() {
        return closed(PoolClose::PeerClosed);
    }
    let life = connection.life_left(now);
    if life == Some(Duration::ZERO) {
        return closed(PoolClose::MaxLifetime);
    }
    let limit = endpoint.idle_limit(pool, now).into_iter().chain(life).min();
    if !connection.rest(pool.max_idle, limit, now) {
        return closed(PoolClose::Full);
    }
    endpoint.resting().put(connection);
}

/// A place on one of the endpoint's HTTP/2 connections, or on a new one. What turns out to speak
/// HTTP/1.1 is an ordinary connection.
async fn share(
    endpoint: &Arc<Endpoint>,
    pool: &model::Pool,
    may_reuse: bool,
    limits: Limits,
) -> Result<Connected, ConnectResult> {
    let place = || {
        let exchange = endpoint.sessions().open()?;
        let transport = Transport::Http2(Box::new(exchange));
        let connection = Connection::new(transport, Arc::clone(endpoint), None);
        Some(Connected { connection, reused: true, at: clock::now() })
    };
    if may_reuse && let Some(connected) = place() {
        return Ok(connected);
    }
    let patience = limits.connect + limits.tls;
    let opening = tokio::time::timeout(patience, endpoint.opening.lock()).await;
    let _opening = opening.map_err(|_| ConnectResult::Timeout)?;
    // Somebody else may have opened one meanwhile.
    if may_reuse && let Some(connected) = place() {
        return Ok(connected);
    }
    let dialled = open(endpoint, pool, Alpn::Http2OrHttp1, limits).await?;
    let connection = dialled.into_connection(endpoint, pool)?;
    Ok(Connected { connection, reused: false, at: clock::now() })
}

/// A new connection.
async fn open(
    endpoint: &Arc<Endpoint>,
    pool: &model::Pool,
    alpn: Alpn,
    limits: Limits,
) -> Result<Dialled, ConnectResult> {
    // Boxed: it takes 15 KiB of state, and most requests find a connection that is idle.
    let dialled = Box::pin(dial(endpoint, pool, alpn, limits)).await;
    let result = dialled.as_ref().err().copied().unwrap_or(ConnectResult::Ok);
    endpoint.metrics().connects(result).inc();
    dialled
}

impl Dialled {
    /// The connection, or a place on it if it is an HTTP/2 one.
    fn into_connection(
        self,
        endpoint: &Arc<Endpoint>,
        pool: &model::Pool,
    ) -> Result<Connection, ConnectResult> {
        let retires = pool.max_lifetime.map(|life| clock::now() + shortened(life, endpoint));
        let (transport, retires) = match self {
            Self::Alone(transport) => (transport, retires),
            Self::Shared(session) => {
                // A peer may allow no exchange at all.
                let exchange = session.open().ok_or(ConnectResult::Other)?;
                endpoint.sessions().add(session, Arc::clone(endpoint.source()), retires);
                (Transport::Http2(Box::new(exchange)), None)
            }
        };
        Ok(Connection::new(transport, Arc::clone(endpoint), retires))
    }
}

/// A lifetime less up to a tenth, so that connections that were opened together do not end
/// together.
fn shortened(life: Duration, endpoint: &Endpoint) -> Duration {
    let spread = endpoint.next_number().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    life - life.mul_f64(spread as f64 / f64::from(u32::MAX) / 10.0)
}
