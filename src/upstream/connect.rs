//! Opens connections to endpoints, and keeps idle ones in pingora's pool.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pingora::protocols::Stream;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::protocols::l4::stream::Stream as PlainStream;
use pingora_pool::{ConnectionMeta, ConnectionPool};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::endpoint::Endpoint;
use super::tracked::Tracked;
use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::{ConnectResult, PoolClose};

/// `tcpi_state` of a connection that nobody has closed (linux/tcp_states.h).
const TCP_ESTABLISHED: u8 = 1;

/// All upstream connections of the process.
///
/// This is not pingora's `TransportConnector`, for two reasons. It panics on a machine without CA
/// certificates, which plain connections do not need. And it loses a pooled connection whose idle
/// watcher has not let go of it yet when it is wanted: under load that was every second one. The
/// pool beneath it is fine.
pub struct Connector {
    pool: Arc<ConnectionPool<Arc<Mutex<Stream>>>>,
}

/// A connection that is ready for a request.
pub struct Connection {
    /// The connection.
    pub stream: Stream,
    /// It has served requests before.
    pub reused: bool,
    /// Under which [`Connector::release`] keeps it.
    pub key: u64,
}

impl Connector {
    /// With room for that many idle connections over all endpoints.
    pub fn new(max_idle: usize) -> Self {
        // Each endpoint keeps to its own limit; the pool's is above all of them, so that one
        // endpoint's connections never push out another's.
        Self { pool: Arc::new(ConnectionPool::new(max_idle + 1)) }
    }

    /// A connection to the endpoint: an idle one if there is any, else a new one within `limit`.
    ///
    /// All addresses of the endpoint's name are tried in order, each for its share of what is left
    /// of `limit`.
    pub async fn connect(
        &self,
        endpoint: &Arc<Endpoint>,
        limit: Duration,
    ) -> Result<Connection, ConnectResult> {
        let began = clock::now();
        let count = |result: ConnectResult| {
            endpoint.metrics().connects(result).inc();
            result
        };
        let resolved = tokio::time::timeout(limit, endpoint.addresses()).await;
        let Ok(Ok(addresses)) = resolved else { return Err(count(ConnectResult::Dns)) };
        for &address in &*addresses {
            let key = key(endpoint, address);
            if let Some(stream) = self.idle(endpoint, key).await {
                return Ok(Connection { stream, reused: true, key });
            }
        }
        let deadline = began + limit;
        let mut failure = ConnectResult::Other;
        for (index, &address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(clock::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
            match open(address, share).await {
                Ok(stream) => {
                    count(ConnectResult::Ok);
                    let took = clock::now().saturating_duration_since(began);
                    endpoint.metrics().connect_duration.observe(took.as_secs_f64());
                    let stream = Tracked::count(stream, Arc::clone(endpoint));
                    return Ok(Connection { stream, reused: false, key: key(endpoint, address) });
                }
                Err(result) => failure = count(result),
            }
        }
        Err(failure)
    }

    /// An idle connection that nobody has closed.
    async fn idle(&self, endpoint: &Endpoint, key: u64) -> Option<Stream> {
        loop {
            let mut shared = self.pool.get(&key)?;
            // Its watcher gives the connection up, and a moment later forgets it.
            drop(shared.lock().await);
            let stream = loop {
                match Arc::try_unwrap(shared) {
                    Ok(mutex) => break mutex.into_inner(),
                    Err(still_shared) => shared = still_shared,
                }
                tokio::task::yield_now().await;
            };
            let Some(mut stream) = Tracked::wake(stream) else { continue };
            if is_usable(&mut stream) {
                return Some(stream);
            }
            endpoint.metrics().pool_closed(PoolClose::PeerClosed).inc();
        }
    }

    /// Keeps a connection for reuse, if its endpoint may keep another. Its last exchange must be
    /// complete and clean.
    pub fn release(&self, endpoint: &Endpoint, mut stream: Stream, key: u64, limits: &model::Pool) {
        let closed = |reason| endpoint.metrics().pool_closed(reason).inc();
        if endpoint.idle().load(Ordering::Relaxed) >= limits.max_idle {
            return closed(PoolClose::Full);
        }
        if !is_usable(&mut stream) {
            return closed(PoolClose::PeerClosed);
        }
        let meta = ConnectionMeta::new(key, stream.id());
        let limit = limits.idle_timeout;
        let shared = Arc::new(Mutex::new(Tracked::rest(stream, limit)));
        let watched = Arc::clone(&shared).try_lock_owned().expect("it was made a moment ago");
        let (evicted, taken) = self.pool.put(&meta, shared);
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move { pool.idle_poll(watched, &meta, limit, evicted, taken).await });
    }
}

async fn open(address: SocketAddr, limit: Duration) -> Result<Stream, ConnectResult> {
    let connected = tokio::time::timeout(limit, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| ConnectResult::Timeout)?.map_err(|e| result(&e))?;
    stream.set_nodelay(true).map_err(|e| result(&e))?;
    Ok(Box::new(PlainStream::from(stream)))
}

fn result(error: &io::Error) -> ConnectResult {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectResult::Refused,
        io::ErrorKind::TimedOut => ConnectResult::Timeout,
        _ => ConnectResult::Other,
    }
}

/// Whether the other end has neither closed the connection nor said anything.
fn is_usable(stream: &mut Stream) -> bool {
    // Asked of the kernel: the runtime may not have heard of a FIN yet that is already here.
    let open = get_tcp_info(stream.id()).is_ok_and(|info| info.tcpi_state == TCP_ESTABLISHED);
    let mut byte = [0; 1];
    let mut cx = Context::from_waker(Waker::noop());
    let read = Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
    open && matches!(read, Poll::Pending)
}

/// Two endpoints at one address, and two addresses of one endpoint, are kept apart.
fn key(endpoint: &Endpoint, address: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (endpoint.id(), address).hash(&mut hasher);
    hasher.finish()
}
