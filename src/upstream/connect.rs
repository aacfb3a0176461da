//! Opens connections to endpoints, and keeps idle ones in pingora's pool.

use std::sync::Arc;
use std::time::Duration;

use pingora_pool::{ConnectionMeta, ConnectionPool};
use tokio::sync::Mutex;

use super::connection::Connection;
use super::dial::dial;
use super::endpoint::Endpoint;
use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::{ConnectResult, PoolClose};

/// All idle upstream connections of the process.
///
/// This is not pingora's `TransportConnector`, for two reasons. It panics on a machine without CA
/// certificates, which plain connections do not need. And it loses a pooled connection whose idle
/// watcher has not let go of it yet when it is wanted: under load that was every second one. The
/// pool beneath it is fine.
pub struct Connector {
    pool: Arc<ConnectionPool<Arc<Mutex<Connection>>>>,
}

/// What kind of connection an exchange needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Any.
    Any,
    /// One that nobody has used: the last one was stale.
    Fresh,
}

/// How long opening a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For TCP.
    pub connect: Duration,
}

impl From<&model::Timeouts> for Limits {
    fn from(timeouts: &model::Timeouts) -> Self {
        Self { connect: timeouts.connect }
    }
}

/// A connection that is ready for a request.
pub struct Connected {
    /// The connection.
    pub connection: Connection,
    /// It has been idle before.
    pub reused: bool,
}

impl Connector {
    /// With room for that many idle connections over all endpoints.
    pub fn new(max_idle: usize) -> Self {
        // Each endpoint keeps to its own limit; the pool's is above all of them, so that one
        // endpoint's connections never push out another's.
        Self { pool: Arc::new(ConnectionPool::new(max_idle + 1)) }
    }

    /// A connection to the endpoint: an idle one if there is any and it will do, else a new one.
    pub async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        pool: &model::Pool,
        want: Want,
        limits: Limits,
    ) -> Result<Connected, ConnectResult> {
        if want == Want::Any
            && let Some(connection) = self.idle(endpoint, pool).await
        {
            return Ok(Connected { connection, reused: true });
        }
        let connection = open(endpoint, pool, limits).await?;
        Ok(Connected { connection, reused: false })
    }

    /// Opens a connection ahead of need.
    pub async fn warm(
        &self,
        endpoint: &Arc<Endpoint>,
        pool: &model::Pool,
        limits: Limits,
    ) -> Result<(), ConnectResult> {
        let connection = open(endpoint, pool, limits).await?;
        self.release(connection, pool);
        Ok(())
    }

    /// Closes the idle connections of an endpoint.
    pub async fn forget(&self, endpoint: &Endpoint) {
        while let Some(connection) = self.take(endpoint).await {
            drop(connection);
        }
    }

    /// An idle connection, good or not.
    async fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut shared = self.pool.get(&endpoint.id())?;
        // Its watcher gives the connection up, and a moment later forgets it.
        drop(shared.lock().await);
        loop {
            match Arc::try_unwrap(shared) {
                Ok(mutex) => return Some(mutex.into_inner()),
                Err(still_shared) => shared = still_shared,
            }
            tokio::task::yield_now().await;
        }
    }

    /// An idle connection that is still good.
    async fn idle(&self, endpoint: &Endpoint, pool: &model::Pool) -> Option<Connection> {
        loop {
            let mut connection = self.take(endpoint).await?;
            if connection.wake(endpoint.idle_limit(pool)) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for reuse, if its endpoint may keep another. Its last exchange must be
    /// complete and clean.
    pub fn release(&self, mut connection: Connection, pool: &model::Pool) {
        let endpoint = Arc::clone(connection.endpoint());
        let closed = |reason| endpoint.metrics().pool_closed(reason).inc();
        if endpoint.idle() >= pool.max_idle {
            return closed(PoolClose::Full);
        }
        if !connection.is_usable() {
            return closed(PoolClose::PeerClosed);
        }
        let life = connection.life_left();
        if life == Some(Duration::ZERO) {
            return closed(PoolClose::MaxLifetime);
        }
        let limit = endpoint.idle_limit(pool).into_iter().chain(life).min();
        connection.rest(limit);
        let meta = ConnectionMeta::new(endpoint.id(), connection.number());
        let shared = Arc::new(Mutex::new(connection));
        let watched = Arc::clone(&shared).try_lock_owned().expect("it was made a moment ago");
        let (evicted, taken) = self.pool.put(&meta, shared);
        let keeper = Arc::clone(&self.pool);
        tokio::spawn(async move { keeper.idle_poll(watched, &meta, limit, evicted, taken).await });
    }
}

/// A new connection.
async fn open(
    endpoint: &Arc<Endpoint>,
    pool: &model::Pool,
    limits: Limits,
) -> Result<Connection, ConnectResult> {
    let dialled = dial(endpoint, pool, limits).await;
    let result = dialled.as_ref().err().copied().unwrap_or(ConnectResult::Ok);
    endpoint.metrics().connects(result).inc();
    let retires = pool.max_lifetime.map(|life| clock::now() + shortened(life, endpoint));
    Ok(Connection::new(dialled?, Arc::clone(endpoint), retires))
}

/// A lifetime less up to a tenth, so that connections that were opened together do not end
/// together.
fn shortened(life: Duration, endpoint: &Endpoint) -> Duration {
    let spread = endpoint.next_number().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    life - life.mul_f64(spread as f64 / f64::from(u32::MAX) / 10.0)
}
