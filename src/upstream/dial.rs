//! Opens a transport to an endpoint.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::connect::Limits;
use super::endpoint::{Endpoint, Place};
use super::transport::Transport;
use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::ConnectResult;

/// Connects within the limits.
pub(super) async fn dial(
    endpoint: &Endpoint,
    pool: &model::Pool,
    limits: Limits,
) -> Result<Transport, ConnectResult> {
    let began = clock::now();
    let transport = match endpoint.place() {
        Place::Tcp(address) => {
            let stream = within(limits.connect, TcpStream::connect(address)).await?;
            prepare(&stream, &pool.tcp_keepalive).map_err(|error| result(&error))?;
            Transport::Tcp(stream)
        }
        Place::Unix(path) => {
            Transport::Unix(within(limits.connect, UnixStream::connect(path)).await?)
        }
    };
    let took = clock::now().saturating_duration_since(began);
    endpoint.metrics().connect_duration.observe(took.as_secs_f64());
    Ok(transport)
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
