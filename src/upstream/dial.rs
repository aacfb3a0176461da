//! Opens a transport to an endpoint.

use std::io;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::connect::Limits;
use super::endpoint::{Endpoint, Place};
use super::http2::{Session, SessionLimits};
use super::tls::{Alpn, TlsClient};
use super::transport::Transport;
use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::ConnectResult;

/// A new connection.
pub(super) enum Dialled {
    /// It carries one exchange at a time.
    Alone(Transport),
    /// It has agreed to HTTP/2.
    Shared(Session),
}

/// Connects within the limits. HTTP/2 is spoken if `alpn` allows it and, with TLS, if the endpoint
/// agrees; without TLS it is taken for granted (RFC 9113 §3.3, prior knowledge).
pub(super) async fn dial(
    endpoint: &Endpoint,
    pool: &model::Pool,
    alpn: Alpn,
    limits: Limits,
) -> Result<Dialled, ConnectResult> {
    let began = clock::now();
    let metrics = endpoint.metrics();
    let stream = match endpoint.place() {
        Place::Tcp(address) => within(limits.connect, TcpStream::connect(address)).await,
        Place::Unix(path) => {
            let stream = within(limits.connect, UnixStream::connect(path)).await?;
            metrics.connect_duration.observe(since(began));
            return Ok(Dialled::Alone(Transport::Unix(stream)));
        }
    }?;
    prepare(&stream, &pool.tcp_keepalive).map_err(|error| result(&error))?;
    metrics.connect_duration.observe(since(began));
    let wants_http2 = alpn == Alpn::Http2OrHttp1;
    let Some((host, tls)) = endpoint.source().tls() else {
        return match wants_http2 {
            true => session(stream, pool, false, limits.tls).await,
            false => Ok(Dialled::Alone(Transport::Tcp(stream))),
        };
    };
    let began = clock::now();
    let handshake = timeout(limits.tls, tls.connect(host, alpn, stream)).await;
    let stream = handshake.map_err(|_| ConnectResult::Timeout)?.map_err(|error| {
        let (endpoint, error) = (endpoint.name(), error.to_string());
        tracing::warn!(endpoint, error, "TLS failed");
        ConnectResult::Tls
    })?;
    metrics.tls_duration.observe(since(began));
    if TlsClient::speaks_http2(&stream) {
        return session(stream, pool, true, limits.tls).await;
    }
    Ok(Dialled::Alone(Transport::Tls(Box::new(stream))))
}

/// Begins HTTP/2 within `limit`.
async fn session(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    pool: &model::Pool,
    https: bool,
    limit: Duration,
) -> Result<Dialled, ConnectResult> {
    let limits = SessionLimits::new(pool, https);
    within(limit, Session::start(stream, limits)).await.map(Dialled::Shared)
}

fn since(began: Instant) -> f64 {
    clock::now().saturating_duration_since(began).as_secs_f64()
}

async fn within<T>(
    limit: Duration,
    connecting: impl Future<Output = io::Result<T>>,
) -> Result<T, ConnectResult> {
    match timeout(limit, connecting).await {
        Err(_) => Err(ConnectResult::Timeout),
        Ok(connected) => connected.map_err(|error| result(&error)),
    }
}

fn prepare(stream: &TcpStream, keepalive: &model::TcpKeepalive) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let retries = u32::try_from(keepalive.count).unwrap_or(u32::MAX);
    let keepalive = TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(retries);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn result(error: &io::Error) -> ConnectResult {
    match error.kind() {
        // A unix socket whose file is not there has nobody who listens, either.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectResult::Refused,
        io::ErrorKind::TimedOut => ConnectResult::Timeout,
        _ => ConnectResult::Other,
    }
}
