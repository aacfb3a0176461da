//! `[routes.NAME.websocket]` and `upgrade`: switching protocols, and what happens then.

use std::time::Duration;

use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{DrainClose, Origin, WebSocket};
use crate::config::read::Table;
use crate::config::units::Invalid;
use crate::syntax::name::is_token;

/// Reads `websocket`.
pub(super) fn websocket(mut table: Table<'_>) -> WebSocket {
    let limits: (Duration, Duration) = (DURATION_MIN, DURATION_MAX);
    let origins = table.list("origins", AN_ORIGIN, origin);
    let websocket = WebSocket {
        ping: table.deadline("ping", defaults::PING),
        pong_timeout: table.duration("pong_timeout", defaults::PONG_TIMEOUT, limits),
        idle: table.deadline("idle", defaults::WEBSOCKET_IDLE),
        max_frame: table.size("max_frame", defaults::MAX_FRAME, (125, defaults::MAX_FRAME_MAX))
            as u64,
        origins: origins.map_or_else(
            || vec![Origin::Same],
            |origins| origins.into_iter().map(|origin| origin.value).collect(),
        ),
        drain_close: drain_close(table.table("drain_close")),
    };
    table.finish();
    websocket
}

/// Reads `upgrade`.
pub(super) fn upgrade(table: &mut Table<'_>) -> Vec<String> {
    let protocols = table.list("upgrade", "a protocol such as \"websocket\"", |text| {
        if is_token(text) {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(Invalid::new("a protocol such as \"websocket\""))
        }
    });
    protocols.map_or_else(
        || vec![defaults::UPGRADE.to_owned()],
        |protocols| protocols.into_iter().map(|protocol| protocol.value).collect(),
    )
}

const AN_ORIGIN: &str = "\"same\", \"*\" or an origin such as \"https://app.example.com\"";

/// RFC 6454 §6.2: `serialized-origin = scheme "://" host [ ":" port ]`, or `null`.
fn origin(text: &str) -> Result<Origin, Invalid> {
    let is_serialized = text.split_once("://").is_some_and(|(scheme, host)| {
        is_token(scheme) && !host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])
    });
    match text {
        "same" => Ok(Origin::Same),
        "*" => Ok(Origin::Any),
        "null" => Ok(Origin::Exact(text.to_owned())),
        _ if is_serialized => Ok(Origin::Exact(text.to_ascii_lowercase())),
        _ => Err(Invalid::new(AN_ORIGIN)),
    }
}

fn drain_close(mut table: Table<'_>) -> DrainClose {
    let reader = table.reader();
    let code = table.take("code");
    let code = code.and_then(|value| {
        let code = value.integer(1000, 4999)?;
        // RFC 6455 §7.4.1 and §7.4.2: the others may not be sent, or mean something else.
        if !matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
            let expected = "expected 1000, 1001, 1008, 1011 to 1013 or 3000 to 4999";
            reader.problem(value.place(), format!("{expected}, found {code}"));
        }
        u16::try_from(code).ok()
    });
    let reason = table.take("reason").and_then(|value| {
        value.parse("a text of at most 123 bytes", |text| {
            if text.len() <= defaults::CLOSE_REASON_MAX_BYTES {
                Ok(text.to_owned())
            } else {
                Err(Invalid::new("a text of at most 123 bytes"))
            }
        })
    });
    table.finish();
    DrainClose {
        code: code.unwrap_or(defaults::DRAIN_CLOSE_CODE),
        reason: reason
            .map_or_else(|| defaults::DRAIN_CLOSE_REASON.to_owned(), |written| written.value),
    }
}
