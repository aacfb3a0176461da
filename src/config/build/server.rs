//! `[server]` and `[admin]`: the process, and the address of its operators.

use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use crate::config::defaults::{self, DURATION_MAX};
use crate::config::model::{Admin, Drain, Secret, Server};
use crate::config::read::{Place, Table, Written};
use crate::config::units::{A_NETWORK, AN_ADDRESS, Invalid, network, socket_address};

/// Reads `[server]`.
pub(super) fn server(mut table: Table<'_>) -> Server {
    let workers = table.integer("workers", cores(), (1, defaults::WORKERS_MAX));
    let trusted_proxies = table
        .list("trusted_proxies", A_NETWORK, network)
        .map(|networks| networks.into_iter().map(|network| network.value).collect());
    let drain = drain(table.table("drain"));
    table.finish();
    Server { workers, trusted_proxies: trusted_proxies.unwrap_or_default(), drain }
}

fn drain(mut table: Table<'_>) -> Drain {
    let any = (Duration::ZERO, DURATION_MAX);
    let drain = Drain {
        grace: table.duration("grace", defaults::DRAIN_GRACE, any),
        min_wait: table.duration("min_wait", defaults::DRAIN_MIN_WAIT, any),
        spread: table.duration("spread", defaults::DRAIN_SPREAD, any),
    };
    table.finish();
    drain
}

/// CPU cores this process may use; 1 if the system does not say.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(defaults::WORKERS_MAX)
}

/// Reads `[admin]`; adds its address to `binds`.
pub(super) fn admin(mut table: Table<'_>, binds: &mut Vec<Written<SocketAddr>>) -> Option<Admin> {
    let reader = table.reader();
    let expected = format!("{AN_ADDRESS}, or \"off\"");
    let bind = table.take("bind").map(|value| {
        value.parse(&expected, |text| match text {
            "off" => Ok(None),
            _ => socket_address(text)
                .map(Some)
                .map_err(|invalid| Invalid { expected: expected.clone(), ..invalid }),
        })
    });
    let token = table.take("token").map(|value| value.parse_secret("a string", token));
    let is_open = matches!(&token, None | Some(Some(Written { value: None, .. })));
    table.finish();

    let bind = match bind {
        None => {
            let address = defaults::ADMIN_BIND;
            let place = Place::unwritten("admin.bind");
            binds.push(Written { value: address, text: format!("\"{address}\""), place });
            address
        }
        // It has been reported.
        Some(None) => return None,
        Some(Some(Written { value, text, place })) => {
            let address = value?;
            if is_open && !address.ip().to_canonical().is_loopback() {
                let message = format!(
                    "expected a loopback address or an admin.token, found {text} without a token"
                );
                reader.misplaced(&place, message);
            }
            binds.push(Written { value: address, text, place });
            address
        }
    };
    let token = token.flatten().and_then(|written| written.value);
    Some(Admin { bind, token })
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
