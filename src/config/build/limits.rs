//! `[routes.NAME.limits]`: streams, rates, bodies, the queue.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{Limits, Queue, RateKey, RateLimit};
use crate::config::read::{Table, Value};
use crate::config::units::Invalid;
use crate::syntax::name::is_token;

/// Reads `limits`.
pub(super) fn limits(mut table: Table<'_>) -> Limits {
    let sizes = (defaults::MAX_REQUEST_BODY_MIN, defaults::MAX_REQUEST_BODY_MAX);
    let body = table.size_or_off("max_request_body", defaults::MAX_REQUEST_BODY, sizes);
    let limits = Limits {
        streams: table.limit("streams", defaults::MAX_STREAMS_MAX),
        streams_per_client: table.limit("streams_per_client", defaults::MAX_STREAMS_MAX),
        requests_per_second: table.take("requests_per_second").and_then(|value| rate(&value)),
        max_request_body: body.map(|bytes| bytes as u64),
        queue: queue(table.table("queue")),
    };
    table.finish();
    limits
}

fn queue(mut table: Table<'_>) -> Queue {
    let queue = Queue {
        size: table.integer("size", defaults::QUEUE_SIZE, (0, defaults::QUEUE_SIZE_MAX)),
        timeout: table.duration("timeout", defaults::QUEUE_TIMEOUT, (DURATION_MIN, DURATION_MAX)),
    };
    table.finish();
    queue
}

fn rate(value: &Value<'_>) -> Option<RateLimit> {
    let mut table = value.table("a table such as { rate = 20, burst = 40, key = \"auth\" }")?;
    let (min, max) = (defaults::RATE_MIN, defaults::RATE_MAX);
    let rate = match table.take("rate") {
        Some(rate) => rate.number(min, max),
        None => {
            table.lacks("rate", &format!("a number from {min} to {max}"));
            None
        }
    };
    // A second's worth, and one at least.
    let burst = rate.map_or(1, |rate| rate.ceil().max(1.0) as u32);
    let burst = table.count("burst", burst, (1, defaults::BURST_MAX));
    let key = table.take("key").and_then(|value| value.parse(A_RATE_KEY, rate_key));
    table.finish();
    Some(RateLimit {
        interval: interval(rate?),
        burst: NonZeroU32::new(burst)?,
        key: key.map_or(RateKey::Auth, |written| written.value),
    })
}

/// Rounded up: what is promised is never exceeded.
fn interval(rate: f64) -> Duration {
    Duration::from_nanos((1e9 / rate).ceil() as u64)
}

const A_RATE_KEY: &str = "\"ip\", \"auth\" or \"header:NAME\"";

fn rate_key(text: &str) -> Result<RateKey, Invalid> {
    match text.split_once(':') {
        None if text == "ip" => Ok(RateKey::Ip),
        None if text == "auth" => Ok(RateKey::Auth),
        Some(("header", name)) if is_token(name) => Ok(RateKey::Header(name.to_ascii_lowercase())),
        _ => Err(Invalid::new(A_RATE_KEY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_never_too_short() {
        for (rate, nanoseconds) in [
            (20.0, 50_000_000),
            (3.0, 333_333_334),
            (0.5, 2_000_000_000),
            (0.001, 1_000_000_000_000),
            (1_000_000.0, 1000),
        ] {
            assert_eq!(interval(rate), Duration::from_nanos(nanoseconds), "{rate} per second");
        }
    }

    #[test]
    fn rate_keys() {
        assert_eq!(rate_key("ip"), Ok(RateKey::Ip));
        assert_eq!(rate_key("auth"), Ok(RateKey::Auth));
        assert_eq!(rate_key("header:X-Tenant"), Ok(RateKey::Header("x-tenant".to_owned())));
        for text in ["", "IP", "ip:", "header", "header:", "header: x", "cookie:a", "path"] {
            assert!(rate_key(text).is_err(), "{text:?} is no key");
        }
    }
}
