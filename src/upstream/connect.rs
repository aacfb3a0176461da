//! Opens connections to endpoints and keeps idle ones, in pingora's connector and its pool.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora::ErrorType;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use pingora::upstreams::peer::{HttpPeer, Peer as _};

use super::endpoint::Endpoint;
use super::tracked::Tracked;
use crate::clock;
use crate::config::model::Pool;
use crate::telemetry::metrics::{ConnectResult, PoolClose};

/// All upstream connections of the process.
pub struct Connector(TransportConnector);

/// A connection that is ready for a request.
pub struct Connection {
    /// The connection.
    pub stream: Stream,
    /// It has served requests before.
    pub reused: bool,
    /// Under which it goes back to the pool.
    key: u64,
}

impl Connector {
    /// With room for that many idle connections over all endpoints.
    pub fn new(max_idle: usize) -> Self {
        // Each endpoint keeps to its own limit; the pool's is one above all of them, so that one
        // endpoint's connections never push out another's.
        Self(TransportConnector::new(Some(ConnectorOptions::new(max_idle + 1))))
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
            let peer = peer(endpoint, address);
            // One that spoke or closed while it was idle is dropped, and the next one taken.
            while let Some(stream) = self.0.reused_stream(&peer).await {
                let Some(stream) = Tracked::wake(stream) else { continue };
                return Ok(Connection { stream, reused: true, key: peer.reuse_hash() });
            }
        }
        let deadline = began + limit;
        let mut failure = ConnectResult::Other;
        for (index, &address) in addresses.iter().enumerate() {
            let peer = peer(endpoint, address);
            let left = deadline.saturating_duration_since(clock::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
            match self.open(&peer, share).await {
                Ok(stream) => {
                    count(ConnectResult::Ok);
                    let took = clock::now().saturating_duration_since(began);
                    endpoint.metrics().connect_duration.observe(took.as_secs_f64());
                    let stream = Tracked::count(stream, Arc::clone(endpoint));
                    return Ok(Connection { stream, reused: false, key: peer.reuse_hash() });
                }
                Err(result) => failure = count(result),
            }
        }
        Err(failure)
    }

    async fn open(&self, peer: &HttpPeer, limit: Duration) -> Result<Stream, ConnectResult> {
        match tokio::time::timeout(limit, self.0.new_stream(peer)).await {
            Err(_) => Err(ConnectResult::Timeout),
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match error.etype() {
                ErrorType::ConnectRefused => ConnectResult::Refused,
                ErrorType::ConnectTimedout => ConnectResult::Timeout,
                _ => ConnectResult::Other,
            }),
        }
    }

    /// Keeps a connection for reuse, if its endpoint may keep another. Its last exchange must be
    /// complete and clean.
    pub fn release(&self, endpoint: &Endpoint, stream: Stream, key: u64, pool: &Pool) {
        if endpoint.idle().load(Ordering::Relaxed) >= pool.max_idle {
            endpoint.metrics().pool_closed(PoolClose::Full).inc();
            return;
        }
        let stream = Tracked::rest(stream, pool.idle_timeout);
        self.0.release_stream(stream, key, pool.idle_timeout);
    }
}

impl Connection {
    /// Under which [`Connector::release`] keeps it.
    pub fn key(&self) -> u64 {
        self.key
    }
}

fn peer(endpoint: &Endpoint, address: SocketAddr) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    // Two endpoints at one address have pools of their own.
    peer.group_key = endpoint.id();
    peer
}
