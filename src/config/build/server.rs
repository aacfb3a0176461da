//! `[server]` and `[admin]`: the process, and the address of its operators.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::defaults::{self, DURATION_MAX};
use crate::config::model::{Admin, Bind, Drain, Secret, Server};
use crate::config::read::{Place, Table, Value, Written};
use crate::config::units::{A_BIND, A_NETWORK, Invalid, bind, network};

/// Reads `[server]`.
pub(super) fn server(mut table: Table<'_>) -> Server {
    let workers = table.integer("workers", cores(), (1, defaults::WORKERS_MAX));
    let trusted_proxies = table
        .list("trusted_proxies", A_NETWORK, network)
        .map(|networks| networks.into_iter().map(|network| network.value).collect());
    let max_connections = table.take("max_connections");
    let max_connections =
        max_connections.and_then(|value| value.integer(1, defaults::CLIENT_CONNECTIONS_MAX));
    let watch = table.deadline("watch", defaults::WATCH);
    let upgrade_socket = table.take("upgrade_socket").and_then(upgrade_socket);
    let drain = drain(table.table("drain"));
    table.finish();
    let trusted_proxies = trusted_proxies.unwrap_or_default();
    Server { workers, trusted_proxies, max_connections, watch, upgrade_socket, drain }
}

/// A path, or "off".
fn upgrade_socket(value: Value<'_>) -> Option<PathBuf> {
    let expected = format!(
        "an absolute path of at most {} bytes, such as \"/run/longwire/upgrade.sock\", or \"off\"",
        defaults::UNIX_PATH_MAX_BYTES
    );
    let read = |text: &str| match text {
        "off" => Ok(None),
        _ if text.starts_with('/')
            && !text.contains('\0')
            && text.len() <= defaults::UNIX_PATH_MAX_BYTES =>
        {
            Ok(Some(PathBuf::from(text)))
        }
        _ => Err(Invalid::new(expected.clone())),
    };
    value.parse(&expected, read)?.value
}

fn drain(mut table: Table<'_>) -> Drain {
    let any = (Duration::ZERO, DURATION_MAX);
    let drain = Drain {
        grace: table.duration("grace", defaults::DRAIN_GRACE, any),
        min_wait: table.duration("min_wait", defaults::DRAIN_MIN_WAIT, any),
        notify: table.boolean("notify", defaults::DRAIN_NOTIFY),
        spread: table.duration("spread", defaults::DRAIN_SPREAD, any),
    };
    table.finish();
    drain
}

/// CPU cores this process may use; 1 if the system does not say.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(defaults::WORKERS_MAX)
}

/// Reads `[admin]`; gives its address once more as it is written.
pub(super) fn admin(mut table: Table<'_>) -> Option<(Admin, Written<Bind>)> {
    let reader = table.reader();
    let expected = format!("{A_BIND}, or \"off\"");
    let written = table.take("bind").map(|value| {
        value.parse(&expected, |text| match text {
            "off" => Ok(None),
            _ => bind(text)
                .map(Some)
                .map_err(|invalid| Invalid { expected: expected.clone(), ..invalid }),
        })
    });
    let token = table.take("token").map(|value| value.parse_secret("a string", token));
    let is_open = matches!(&token, None | Some(Some(Written { value: None, .. })));
    let dashboard = table.boolean("dashboard", defaults::ADMIN_DASHBOARD);
    let allow_kill = table.boolean("allow_kill", defaults::ALLOW_KILL);
    table.finish();

    let bind = match written {
        None => {
            let value = Bind::Tcp(defaults::ADMIN_BIND);
            let place = Place::unwritten("admin.bind");
            Written { text: format!("\"{value}\""), value, place }
        }
        // It has been reported.
        Some(None) => return None,
        Some(Some(Written { value, text, place })) => {
            let value = value?;
            if is_open && is_public(&value) {
                let message = format!(
                    "expected a loopback address or an admin.token, found {text} without a token"
                );
                reader.misplaced(&place, message);
            }
            Written { value, text, place }
        }
    };
    let token = token.flatten().and_then(|written| written.value);
    Some((Admin { bind: bind.value.clone(), token, dashboard, allow_kill }, bind))
}

/// Whether others than this machine's programs reach it; a unix socket has file permissions.
fn is_public(bind: &Bind) -> bool {
    matches!(bind, Bind::Tcp(address) if !address.ip().to_canonical().is_loopback())
}

/// An empty text is no token, so that `${LONGWIRE_ADMIN_TOKEN:-}` may stay unset.
fn token(text: &str) -> Result<Option<Secret>, Invalid> {
    // RFC 9110, 5.5: a field value is visible ASCII here; a token with a space in it would never
    // be found in `Authorization: Bearer`.
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Invalid::new("visible ASCII characters without spaces"));
    }
    Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
}
