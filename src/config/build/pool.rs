//! `[upstreams.NAME.pool]`.

use std::time::Duration;

use super::endpoint::ReadEndpoint;
use super::keepalive::tcp_keepalive;
use crate::config::defaults;
use crate::config::model::{Pool, TcpKeepalive};
use crate::config::read::Table;

/// Reads `pool`, which must suit the endpoints.
pub(super) fn pool(mut table: Table<'_>, endpoints: &[ReadEndpoint]) -> Pool {
    let reader = table.reader();
    let before = reader.problems();
    let max_idle = table.integer("max_idle", defaults::POOL_MAX_IDLE, CONNECTIONS);
    let max_connections = table.limit("max_connections", defaults::CONNECTIONS_MAX);
    let limits = (reader.problems() == before).then_some((max_idle, max_connections));
    let pool = Pool {
        max_idle,
        idle_timeout: table.deadline("idle_timeout", defaults::POOL_IDLE_TIMEOUT),
        learn: table.boolean("learn", defaults::POOL_LEARN),
        max_lifetime: table.deadline("max_lifetime", defaults::POOL_MAX_LIFETIME),
        max_connections,
        warm: warm(&mut table, limits),
        http2: http2(&mut table, endpoints),
        streams_per_connection: table.integer(
            "streams_per_connection",
            defaults::STREAMS_PER_CONNECTION,
            (1, defaults::STREAMS_PER_CONNECTION_MAX),
        ),
        h2_stream_window: table.size(
            "h2_stream_window",
            defaults::H2_STREAM_WINDOW,
            (defaults::H2_STREAM_WINDOW_MIN, defaults::H2_STREAM_WINDOW_MAX),
        ),
        tcp_keepalive: upstream_keepalive(table.table("tcp_keepalive")),
    };
    table.finish();
    pool
}

/// How many connections to one endpoint can be asked for.
const CONNECTIONS: (usize, usize) = (0, defaults::CONNECTIONS_MAX);

/// Connections that are opened ahead must be allowed to exist, and to be idle. `limits` are
/// `max_idle` and `max_connections`, if they are known.
fn warm(table: &mut Table<'_>, limits: Option<(usize, Option<usize>)>) -> usize {
    let Some(value) = table.take("warm") else {
        return defaults::POOL_WARM;
    };
    let (min, max) = CONNECTIONS;
    let warm = value.integer(min, max).unwrap_or(defaults::POOL_WARM);
    match limits {
        Some((max_idle, _)) if warm > max_idle => {
            value.misfit(&format!("at most max_idle, which is {max_idle}"));
        }
        Some((_, Some(max))) if warm > max => {
            value.misfit(&format!("at most max_connections, which is {max}"));
        }
        _ => {}
    }
    warm
}

fn http2(table: &mut Table<'_>, endpoints: &[ReadEndpoint]) -> bool {
    let reader = table.reader();
    let Some(value) = table.take("http2") else {
        return defaults::HTTP2;
    };
    let http2 = value.boolean().unwrap_or(defaults::HTTP2);
    let socket = endpoints.iter().find(|endpoint| endpoint.is_unix());
    if let Some(socket) = socket.filter(|_| http2) {
        let place = reader.pointer(&socket.place);
        value.misfit(&format!("false with the unix socket {place}"));
    }
    http2
}

fn upstream_keepalive(mut table: Table<'_>) -> TcpKeepalive {
    let base = TcpKeepalive {
        idle: defaults::UPSTREAM_KEEPALIVE_IDLE,
        interval: defaults::UPSTREAM_KEEPALIVE_INTERVAL,
        count: defaults::UPSTREAM_KEEPALIVE_COUNT,
        // An upstream that takes no bytes is found by `timeouts.send`.
        user_timeout: Duration::ZERO,
    };
    let keepalive = tcp_keepalive(&mut table, &base);
    table.finish();
    keepalive
}
