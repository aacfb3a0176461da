//! Why did it end? One table; log, metrics and tests read its rows.

use std::io;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The name in the log and in the `reason` label.
    pub label: &'static str,
    /// Something went wrong (the client's leaving is not an error).
    pub is_error: bool,
    /// What it means, as one sentence.
    pub meaning: &'static str,
}

macro_rules! close_reasons {
    ($($variant:ident, $label:literal, $is_error:literal, $meaning:literal;)*) => {
        /// Why an exchange ended. Every exchange ends with exactly one of these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseReason {
            $(#[doc = $meaning] $variant,)*
        }

        impl CloseReason {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// This reason's row.
            pub fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        label: $label,
                        is_error: $is_error,
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
}

close_reasons! {
    Completed, "completed", false, "The response was delivered to its end.";
    ClientClosed, "client_closed", false, "The client closed its connection before the end.";
    UpstreamClosed, "upstream_closed", false,
        "The upstream closed the connection, and that is the only end this body can have.";
    Truncated, "truncated", true, "The upstream closed the connection in the middle of the body, or ended an event stream without its end mark.";
    UpstreamReset, "upstream_reset", true,
        "The upstream could not be reached, reset its connection, or closed it without an answer.";
    LateFailure, "late_failure", true,
        "The upstream answered with an error after the response had begun (`commit_after`).";
    FirstByteTimeout, "first_byte_timeout", true, "No response head within `first_byte`.";
    FirstEventTimeout, "first_event_timeout", true, "No body byte within `first_event`.";
    IdleTimeout, "idle_timeout", true, "No upstream byte for `idle`.";
    SendTimeout, "send_timeout", true, "The upstream took no request bytes for `send`.";
    MaxDuration, "max_duration", true, "The exchange reached `max_duration`.";
    SlowClient, "slow_client", true, "The client took no bytes, or owed some of its request, for `slow_client_timeout`.";
    PongTimeout, "pong_timeout", true, "A side of a WebSocket did not answer a ping in time.";
    Drained, "drained", true, "The process ended and `grace` was over.";
    Killed, "killed", true, "An operator ended it.";
    Limit, "limit", true, "The request body was longer than `max_request_body`.";
    ProtocolError, "protocol_error", true, "A peer broke the rules of HTTP.";
    ProxyError, "proxy_error", true, "The proxy itself failed.";
}

impl CloseReason {
    /// Whether it ended otherwise than it might have ended by itself, or by a client's leaving, or
    /// by a deploy.
    pub fn is_failure(self) -> bool {
        self.row().is_error && self != Self::Drained
    }

    /// What a failed write to a client says: the kernel gives up on one that takes nothing for
    /// longer than it was allowed to, and HTTP/2 refuses what is no answer to its request.
    pub fn of_failed_write(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::SlowClient,
            io::ErrorKind::InvalidInput => Self::ProtocolError,
            _ => Self::ClientClosed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_fit_for_metrics() {
        let labels: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.row().label).collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        for label in labels {
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{label}");
        }
    }

    #[test]
    fn the_readme_has_the_same_table() {
        let readme = include_str!("../../README.md");
        let rows = readme.lines().skip_while(|line| !line.starts_with("| reason |")).skip(2);
        let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
        let table = CloseReason::ALL.iter().map(|reason| reason.row());
        let table: Vec<_> =
            table.map(|row| format!("| `{}` | {} |", row.label, row.meaning)).collect();
        assert_eq!(rows, table);
    }
}
