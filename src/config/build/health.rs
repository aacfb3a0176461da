//! `[upstreams.NAME.health]`: active checks, passive ejection.

use std::time::Duration;

use super::matching::request_target;
use crate::config::defaults::{self, DURATION_MAX, DURATION_MIN};
use crate::config::model::{ActiveHealth, Health, PassiveHealth};
use crate::config::read::{Table, Value};
use crate::config::units::{Invalid, written_duration};

/// Reads `health`.
pub(super) fn health(mut table: Table<'_>) -> Health {
    let active = table.take("active").and_then(|value| value.table("a table"));
    let health =
        Health { active: active.map(active_health), passive: passive(table.table("passive")) };
    table.finish();
    health
}

fn active_health(mut table: Table<'_>) -> ActiveHealth {
    let positive: (Duration, Duration) = (DURATION_MIN, DURATION_MAX);
    let in_a_row = (1, defaults::IN_A_ROW_MAX);
    let path = match table.take("path") {
        Some(value) => value.parse(A_HEALTH_PATH, request_target),
        None => {
            table.lacks("path", A_HEALTH_PATH);
            None
        }
    };
    let statuses = table.take("expect_status");
    let active = ActiveHealth {
        path: path.map(|written| written.value).unwrap_or_default(),
        interval: table.duration("interval", defaults::CHECK_INTERVAL, positive),
        timeout: table.duration("timeout", defaults::CHECK_TIMEOUT, positive),
        expect_status: statuses
            .map_or_else(|| vec![defaults::EXPECT_STATUS], |value| expect_status(&value)),
        healthy_after: table.count("healthy_after", defaults::HEALTHY_AFTER, in_a_row),
        unhealthy_after: table.count("unhealthy_after", defaults::UNHEALTHY_AFTER, in_a_row),
    };
    table.finish();
    active
}

fn expect_status(value: &Value<'_>) -> Vec<(u16, u16)> {
    let elements = value.some_elements("an array of at least one status such as [\"200-299\"]");
    let range = |element: &Value<'_>| element.parse(A_STATUS, status_range);
    elements.iter().filter_map(range).map(|written| written.value).collect()
}

const A_HEALTH_PATH: &str = "a path such as \"/health\"";
const A_STATUS: &str = "a status such as \"200\", or a range such as \"200-299\"";

/// `200` or `200-299`. RFC 9110, 15: a status has three digits, and the final ones are 200 to 599.
fn status_range(text: &str) -> Result<(u16, u16), Invalid> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = status(first).zip(status(last)).ok_or_else(|| Invalid::new(A_STATUS))?;
    if range.0 > range.1 {
        return Err(
            Invalid::new("a range with the lower status first").suggest(format!("{last}-{first}"))
        );
    }
    Ok(range)
}

/// The status of a final response.
pub(super) fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (200..=599).contains(&number).then_some(number)
}

fn passive(mut table: Table<'_>) -> PassiveHealth {
    let (eject_for, max_eject_for) = ejection(&mut table);
    let passive = PassiveHealth {
        failures: table.count("failures", defaults::FAILURES, (0, defaults::IN_A_ROW_MAX)),
        eject_for,
        max_eject_for,
        max_ejected_percent: table.count(
            "max_ejected_percent",
            defaults::MAX_EJECTED_PERCENT,
            (0, 100),
        ),
    };
    table.finish();
    passive
}

/// `eject_for` and `max_eject_for`. If the latter is not written, a longer former raises it:
/// somebody who wrote only that has said how long.
fn ejection(table: &mut Table<'_>) -> (Duration, Duration) {
    let reader = table.reader();
    let before = reader.problems();
    let positive = (DURATION_MIN, DURATION_MAX);
    let eject_for = table.duration("eject_for", defaults::EJECT_FOR, positive);
    let is_known = reader.problems() == before;
    let max = defaults::MAX_EJECT_FOR.max(eject_for);
    let Some(value) = table.take("max_eject_for") else {
        return (eject_for, max);
    };
    let max = value.duration(DURATION_MIN, DURATION_MAX).unwrap_or(max);
    if is_known && max < eject_for {
        let eject_for = written_duration(eject_for);
        value.misfit(&format!("at least eject_for, which is \"{eject_for}\""));
    }
    (eject_for, max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_ranges() {
        assert_eq!(status_range("200"), Ok((200, 200)));
        assert_eq!(status_range("200-599"), Ok((200, 599)));
        for bad in
            ["", "-", "200-", "-299", "200-299-300", "99", "199", "600", "+20", "2xx", "0200"]
        {
            assert!(status_range(bad).is_err(), "{bad:?} is no status");
        }
        let reversed = status_range("299-200").unwrap_err();
        assert_eq!(reversed.suggestion.as_deref(), Some("200-299"));
    }
}
