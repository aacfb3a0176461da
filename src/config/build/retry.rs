//! `[routes.NAME.retry]`: when a request may be sent again.

use super::health::status;
use crate::config::defaults;
use crate::config::model::{Retry, RetryOn};
use crate::config::read::Table;
use crate::config::suggest::nearest;
use crate::config::units::Invalid;

/// Reads `retry`.
pub(super) fn retry(mut table: Table<'_>) -> Retry {
    let retry = Retry {
        attempts: table.count("attempts", defaults::RETRY_ATTEMPTS, (0, defaults::ATTEMPTS_MAX)),
        on: on(&mut table),
        idempotent_only: table.boolean("idempotent_only", defaults::IDEMPOTENT_ONLY),
        budget_percent: table.count("budget_percent", defaults::BUDGET_PERCENT, (0, 100)),
        replay_body: table.size(
            "replay_body",
            defaults::REPLAY_BODY,
            (0, defaults::REPLAY_BODY_MAX),
        ),
    };
    table.finish();
    retry
}

/// Reads `on`, each word once.
fn on(table: &mut Table<'_>) -> Vec<RetryOn> {
    let Some(written) = table.list("on", A_CAUSE, cause) else {
        return defaults::RETRY_ON.to_vec();
    };
    let mut causes = Vec::new();
    for cause in written {
        if !causes.contains(&cause.value) {
            causes.push(cause.value);
        }
    }
    causes
}

const A_CAUSE: &str = "\"connect_error\", \"not_delivered\", \"reset\", \"first_byte_timeout\", \
                       \"429\" or a status of \"500\" to \"599\"";

const WORDS: [(&str, RetryOn); 4] = [
    ("connect_error", RetryOn::ConnectError),
    ("not_delivered", RetryOn::NotDelivered),
    ("reset", RetryOn::Reset),
    ("first_byte_timeout", RetryOn::FirstByteTimeout),
];

fn cause(text: &str) -> Result<RetryOn, Invalid> {
    if let Some((_, cause)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*cause);
    }
    match status(text) {
        Some(status @ (429 | 500..=599)) => Ok(RetryOn::Status(status)),
        _ => {
            let invalid = Invalid::new(A_CAUSE);
            Err(match nearest(text, WORDS.iter().map(|(word, _)| *word)) {
                Some(word) => invalid.suggest(word),
                None => invalid,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        assert_eq!(cause("reset"), Ok(RetryOn::Reset));
        assert_eq!(cause("429"), Ok(RetryOn::Status(429)));
        assert_eq!(cause("599"), Ok(RetryOn::Status(599)));
        for bad in ["", "200", "404", "499", "600", "0500", "5xx", "timeout"] {
            assert!(cause(bad).is_err(), "{bad:?} is no cause");
        }
        let typo = cause("connection_error").unwrap_err();
        assert_eq!(typo.suggestion.as_deref(), Some("connect_error"));
    }
}
