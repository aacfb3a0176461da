//! The end of a request that went to an upstream: what the client still hears, what becomes of its
//! connection, and what is counted, traced and logged.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::exchange::After;
use super::forward::{Forward, Open, Reached, SWITCHING};
use super::reply::{CLIENT_LEFT, Denial};
use crate::client::Client;
use crate::clock;
use crate::http1::framing::Framing;
use crate::live::reason::CloseReason;
use crate::relay::drive::End;
use crate::relay::duplex::Ended;
use crate::telemetry::access::Record;
use crate::telemetry::limited::Limit;
use crate::telemetry::meter::Meter;

/// 500 Internal Server Error.
const PROXY_ERROR: u16 = 500;

/// How it ended.
pub(super) struct Outcome {
    pub(super) end: End,
    /// Why it failed, in words for the client, if that is more than the end says.
    pub(super) denial: Option<Box<Denial>>,
    /// The status that the client got and how the response was framed, once its head was sent.
    pub(super) sent: Option<(u16, Answer)>,
    /// The client's connection stands at the start of its next request.
    pub(super) request_is_read: bool,
    /// The client was left in the middle of something, so nothing sensible can follow.
    pub(super) client_is_owed: bool,
    /// The client was told to come back, and has a whole body.
    pub(super) said_farewell: bool,
    pub(super) reached: Reached,
    /// How it ended after it had switched to another protocol.
    pub(super) switched: Option<Ended>,
    /// When.
    pub(super) ended_at: Instant,
}

impl Forward<'_> {
    /// What becomes of the client's connection. Gives everything back if the client has to be told
    /// first that it gets no response.
    pub(super) fn finish(
        &self,
        open: Open,
        outcome: Outcome,
    ) -> Result<After, Box<(Open, Outcome)>> {
        let reason = outcome.end.reason;
        if reason == CloseReason::Limit {
            self.refused(Limit::Body);
        }
        let (status, after) = match &outcome.sent {
            _ if outcome.switched.is_some() => (SWITCHING, After::Close),
            _ if reason == CloseReason::ClientClosed => match outcome.sent {
                // It may have closed its half only, and would take our end for the body's.
                Some((status, answer)) if answer.to == Framing::UntilClose => {
                    (status, After::Abort { patience: Some(Duration::ZERO) })
                }
                sent => (sent.map_or(CLIENT_LEFT, |(status, _)| status), After::Gone),
            },
            Some((status, answer)) => (*status, self.after(*answer, &outcome)),
            None if outcome.client_is_owed => (CLIENT_LEFT, After::Close),
            None => return Err(Box::new((open, outcome))),
        };
        let how = (&outcome.reached, outcome.switched);
        self.close(open.meter, reason, status, how, outcome.ended_at);
        Ok(after)
    }

    /// Tells the client that it gets no response.
    pub(super) async fn deny(&self, client: &mut Client, denied: Box<(Open, Outcome)>) -> After {
        let (mut open, outcome) = *denied;
        let reason = outcome.end.reason;
        let denial = outcome.denial.unwrap_or_else(|| {
            Box::new(match self.rules.limits.max_request_body {
                Some(max) if reason == CloseReason::Limit => Denial::body_too_large(max),
                _ => Denial::from_end(outcome.end),
            })
        });
        let is_reusable = self.request.keep_alive && outcome.request_is_read;
        let rest = (is_reusable && !self.context.is_draining()).then_some(Framing::None);
        let after = self.request.deny(client, &denial, rest, &mut open.meter).await;
        self.close(open.meter, reason, denial.status, (&outcome.reached, None), clock::now());
        after
    }

    /// Counts, traces and logs its end.
    fn close(
        &self,
        meter: Meter,
        reason: CloseReason,
        status: u16,
        (reached, switched): (&Reached, Option<Ended>),
        now: Instant,
    ) {
        let record = |kind| Record {
            close_code: switched.and_then(|ended| ended.code),
            closed_by: switched.and_then(|ended| ended.closed_by),
            ..self.record(reached, kind, status)
        };
        let end = (reason, status, now);
        self.request.close(*self.context, meter, end, &reached.attempts, record);
    }

    /// A panic was its end. What the client has of a response is not known, so it must not look
    /// whole.
    pub(super) fn broken(&self, open: Open) -> After {
        let nothing = (&Reached::default(), None);
        self.close(open.meter, CloseReason::ProxyError, PROXY_ERROR, nothing, clock::now());
        After::Abort { patience: self.rules.stream.slow_client_timeout }
    }

    /// What becomes of the client's connection after a response whose head was sent.
    fn after(&self, answer: Answer, outcome: &Outcome) -> After {
        let whole =
            matches!(outcome.end.reason, CloseReason::Completed | CloseReason::UpstreamClosed);
        match (whole, answer.to) {
            _ if outcome.said_farewell => After::Close,
            (true, _) if answer.close || !outcome.request_is_read => After::Close,
            (true, _) => After::KeepAlive,
            (false, Framing::UntilClose) => {
                After::Abort { patience: self.rules.stream.slow_client_timeout }
            }
            // Without its last chunk or its last byte, it is broken for everybody to see.
            (false, _) => After::Close,
        }
    }
}
