//! `tcp_keepalive`, on either side.

use std::time::Duration;

use crate::config::defaults;
use crate::config::model::TcpKeepalive;
use crate::config::read::Table;

/// Reads `idle`, `interval` and `count`; what is left out is as in `base`, and so is
/// `user_timeout`. The table is not finished.
pub(super) fn tcp_keepalive(table: &mut Table<'_>, base: &TcpKeepalive) -> TcpKeepalive {
    let seconds = (Duration::from_secs(1), defaults::TCP_KEEPALIVE_MAX);
    TcpKeepalive {
        idle: table.duration("idle", base.idle, seconds),
        interval: table.duration("interval", base.interval, seconds),
        count: table.integer("count", base.count, (1, defaults::TCP_KEEPALIVE_COUNT_MAX)),
        user_timeout: base.user_timeout,
    }
}
