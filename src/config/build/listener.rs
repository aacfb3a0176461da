//! `[listeners.NAME]`.

use std::net::SocketAddr;
use std::time::Duration;

use super::keepalive::tcp_keepalive;
use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{Listener, TcpKeepalive};
use crate::config::read::{Table, Written};
use crate::config::units::{AN_ADDRESS, socket_address};

/// Reads `[listeners]`; adds all addresses to `binds`.
pub(super) fn listeners(
    root: &mut Table<'_>,
    binds: &mut Vec<Written<SocketAddr>>,
) -> Vec<Listener> {
    let reader = root.reader();
    let before = reader.problems();
    let table = root.table("listeners");
    if table.is_empty() && reader.problems() == before {
        reader.misplaced(table.place(), "expected at least one [listeners.NAME], found none");
    }
    table.named("listener").into_iter().map(|(name, table)| listener(name, table, binds)).collect()
}

fn listener(name: String, mut table: Table<'_>, binds: &mut Vec<Written<SocketAddr>>) -> Listener {
    let positive = (DURATION_MIN, DURATION_MAX);
    let bind = bind(&mut table);
    let listener = Listener {
        name,
        bind: bind.iter().map(|address| address.value).collect(),
        header_timeout: table.duration("header_timeout", defaults::HEADER_TIMEOUT, positive),
        keepalive_timeout: table.duration(
            "keepalive_timeout",
            defaults::KEEPALIVE_TIMEOUT,
            positive,
        ),
        max_header_size: table.size(
            "max_header_size",
            defaults::MAX_HEADER_SIZE,
            (defaults::MAX_HEADER_SIZE_MIN, defaults::MAX_HEADER_SIZE_MAX),
        ),
        tcp_keepalive: client_keepalive(table.table("tcp_keepalive")),
    };
    table.finish();
    binds.extend(bind);
    listener
}

fn bind(table: &mut Table<'_>) -> Vec<Written<SocketAddr>> {
    let expected = "an array of at least one address such as [\"127.0.0.1:8080\"]";
    let Some(value) = table.take("bind") else {
        table.lacks("bind", expected);
        return Vec::new();
    };
    let elements = value.some_elements(expected);
    elements.iter().filter_map(|element| element.parse(AN_ADDRESS, socket_address)).collect()
}

fn client_keepalive(mut table: Table<'_>) -> TcpKeepalive {
    let base = TcpKeepalive {
        idle: defaults::TCP_KEEPALIVE_IDLE,
        interval: defaults::TCP_KEEPALIVE_INTERVAL,
        count: defaults::TCP_KEEPALIVE_COUNT,
        user_timeout: defaults::TCP_USER_TIMEOUT,
    };
    let limits = (Duration::ZERO, defaults::TCP_USER_TIMEOUT_MAX);
    let keepalive = tcp_keepalive(&mut table, &base);
    let user_timeout = table.duration("user_timeout", base.user_timeout, limits);
    table.finish();
    TcpKeepalive { user_timeout, ..keepalive }
}
