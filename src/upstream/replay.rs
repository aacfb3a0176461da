//! May a request that failed be tried again, and where? Pure.

use crate::config::model::{Retry, RetryOn};

/// What a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// The connection was lost, and the upstream provably did nothing with the request.
    NotDelivered {
        /// It had served other requests before.
        reused: bool,
    },
    /// The connection was lost without an answer.
    Lost {
        /// It had served other requests before.
        reused: bool,
    },
    /// No answer in time.
    FirstByteTimeout,
    /// An answer with this status; nothing of it was passed on.
    Status(u16),
}

/// The request, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a str,
    /// All that was taken of its body can be sent again.
    pub is_kept: bool,
    /// Tries that counted so far, the one that failed included.
    pub tries: u32,
}

/// A further try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// Why, as in `longwire_upstream_retries_total{cause}`.
    pub cause: Cause,
    /// At the same endpoint, on a connection of its own: it was only the connection that was stale.
    pub same_endpoint: bool,
    /// It costs the upstream work that the first try may have cost it already, so it is paid for
    /// out of the retry budget.
    pub is_paid: bool,
}

/// Why a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Cause {
    ConnectError,
    NotDelivered,
    Reset,
    FirstByteTimeout,
    Status,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ConnectError, Self::NotDelivered, Self::Reset, Self::FirstByteTimeout, Self::Status];

    /// The name in the `cause` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConnectError => "connect_error",
            Self::NotDelivered => "not_delivered",
            Self::Reset => "reset",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Status => "status",
        }
    }
}

/// Decides. A request that the upstream may have acted on is repeated only if that is harmless by
/// its method (RFC 9110 §9.2.2), or if the route says that it is.
pub fn decide(rules: &Retry, failure: Failure, request: Request<'_>) -> Option<Again> {
    let listed = |on: RetryOn| rules.on.contains(&on);
    let idempotent = is_idempotent(request.method);
    let harmless = idempotent || !rules.idempotent_only;
    let (allowed, cause) = match failure {
        Failure::Connect => (listed(RetryOn::ConnectError), Cause::ConnectError),
        Failure::NotDelivered { .. } => (listed(RetryOn::NotDelivered), Cause::NotDelivered),
        // RFC 9112 §9.3.1: "a client … can automatically retry … idempotent methods" when a
        // connection that was kept alive closes under it.
        Failure::Lost { reused: true } if idempotent && listed(RetryOn::NotDelivered) => {
            (true, Cause::NotDelivered)
        }
        Failure::Lost { .. } => (harmless && listed(RetryOn::Reset), Cause::Reset),
        Failure::FirstByteTimeout => {
            (harmless && listed(RetryOn::FirstByteTimeout), Cause::FirstByteTimeout)
        }
        Failure::Status(status) => (harmless && listed(RetryOn::Status(status)), Cause::Status),
    };
    let is_stale =
        matches!(failure, Failure::NotDelivered { reused: true } | Failure::Lost { reused: true });
    let is_free = matches!(failure, Failure::Connect | Failure::NotDelivered { .. });
    let may = allowed && request.is_kept && request.tries <= rules.attempts;
    may.then_some(Again { cause, same_endpoint: is_stale, is_paid: !is_free })
}

/// Whether repeating a request is harmless (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(on: &[RetryOn]) -> Retry {
        let replay_body = 1024;
        Retry {
            attempts: 2,
            on: on.to_vec(),
            idempotent_only: true,
            budget_percent: 20,
            replay_body,
        }
    }

    const ALL: &[RetryOn] = &[
        RetryOn::ConnectError,
        RetryOn::NotDelivered,
        RetryOn::Reset,
        RetryOn::FirstByteTimeout,
        RetryOn::Status(503),
    ];

    fn cause(rules: &Retry, failure: Failure, method: &str) -> Option<Cause> {
        let request = Request { method, is_kept: true, tries: 1 };
        decide(rules, failure, request).map(|again| again.cause)
    }

    #[test]
    fn a_post_that_may_have_been_received_is_never_sent_again() {
        let rules = rules(ALL);
        for failure in [
            Failure::Lost { reused: true },
            Failure::Lost { reused: false },
            Failure::FirstByteTimeout,
            Failure::Status(503),
        ] {
            assert_eq!(cause(&rules, failure, "POST"), None, "{failure:?}");
            assert!(cause(&rules, failure, "GET").is_some(), "{failure:?}");
        }
    }

    #[test]
    fn what_is_proved_is_sent_again_whatever_it_is() {
        let rules = rules(ALL);
        for (failure, expected) in [
            (Failure::Connect, Cause::ConnectError),
            (Failure::NotDelivered { reused: false }, Cause::NotDelivered),
        ] {
            assert_eq!(cause(&rules, failure, "POST"), Some(expected));
        }
    }

    #[test]
    fn a_route_may_say_that_a_repetition_is_harmless() {
        let rules = Retry { idempotent_only: false, ..rules(ALL) };
        assert_eq!(cause(&rules, Failure::Status(503), "POST"), Some(Cause::Status));
        assert_eq!(cause(&rules, Failure::Status(502), "POST"), None, "not listed");
        assert_eq!(cause(&rules, Failure::Lost { reused: true }, "POST"), Some(Cause::Reset));
    }

    #[test]
    fn only_what_is_listed() {
        let rules = rules(&[]);
        for failure in [
            Failure::Connect,
            Failure::NotDelivered { reused: true },
            Failure::Lost { reused: true },
            Failure::FirstByteTimeout,
            Failure::Status(503),
        ] {
            assert_eq!(cause(&rules, failure, "GET"), None, "{failure:?}");
        }
    }

    #[test]
    fn not_without_the_body_and_not_for_ever() {
        let rules = rules(ALL);
        let request = Request { method: "POST", is_kept: false, tries: 1 };
        assert_eq!(decide(&rules, Failure::NotDelivered { reused: true }, request), None);
        let request = Request { method: "POST", is_kept: true, tries: 2 };
        assert!(decide(&rules, Failure::Connect, request).is_some());
        let request = Request { method: "POST", is_kept: true, tries: 3 };
        assert_eq!(decide(&rules, Failure::Connect, request), None);
    }

    #[test]
    fn stale_connections_stay_with_their_endpoint_and_cost_nothing() {
        let rules = rules(ALL);
        let request = Request { method: "POST", is_kept: true, tries: 1 };
        let stale = decide(&rules, Failure::NotDelivered { reused: true }, request).unwrap();
        assert!(stale.same_endpoint && !stale.is_paid);
        let request = Request { method: "GET", ..request };
        let status = decide(&rules, Failure::Status(503), request).unwrap();
        assert!(!status.same_endpoint && status.is_paid);
    }
}
