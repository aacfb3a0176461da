//! The farewell to an event stream's client, while the process drains.

use std::ops::ControlFlow::{self, Break, Continue};
use std::task::Context;
use std::time::{Duration, Instant};

use super::{Event, Link, Wire};
use crate::clock;
use crate::live::reason::CloseReason;
use crate::live::registry::Order;
use crate::live::stream::STALLED_AFTER;
use crate::sse::dialect::Failure;

/// What a client that cannot be sent away without an error is told.
const FAILURE: Failure<'_> =
    Failure { status: 503, kind: "drained", message: "the proxy is shutting down" };

/// Whose `retry:` is longest waits so much longer than whose is shortest.
const JITTER: f64 = 0.5;

/// How far the farewell of one exchange is.
///
/// ```text
/// Unasked -> At -> Due -> Said
///     |       |     |       |  the process is to end now
///     +-------+-----+-------+---> LastCall
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// Nothing drains.
    Unasked,
    /// Its turn is then.
    At(Instant),
    /// Its turn has come; it waits for the end of an event.
    Due,
    /// It has been written.
    Said,
    /// It was written when the exchange was told to end: only the client is waited for.
    LastCall,
}

impl Parting {
    /// When something is to be done.
    pub(super) fn at(self) -> Option<Instant> {
        match self {
            Self::At(at) => Some(at),
            _ => None,
        }
    }
}

impl<U: Wire> Link<'_, U> {
    /// Does what the exchange was told to do.
    pub(super) fn obey(&mut self, cx: &mut Context<'_>) -> ControlFlow<Event> {
        match self.around.entry.poll_order(cx) {
            Order::RunOn => {}
            Order::Drain(farewells) => {
                if self.parting == Parting::Unasked {
                    let at = farewells.finite(self.around.entry.fraction());
                    self.parting = Parting::At(at);
                    self.arm_earlier();
                }
            }
            // It has been told; now only the client is waited for.
            Order::Kill if self.ending.is_some() && !self.client_is_stuck() => {}
            Order::Kill => return Break(Event::End(CloseReason::Killed.into())),
            Order::End { .. } if self.parting == Parting::LastCall => {}
            Order::End { farewell } => {
                if !farewell || !self.say_farewell() {
                    return Break(Event::End(CloseReason::Drained.into()));
                }
                self.parting = Parting::LastCall;
            }
        }
        Continue(())
    }

    /// Whether the client has stopped reading, so that nothing can be said to it.
    pub(super) fn client_is_stuck(&self) -> bool {
        self.stalled_at.is_some_and(|at| at + STALLED_AFTER <= clock::now())
    }

    /// Says farewell if its turn has come and it may stand here; says whether it did.
    pub(super) fn part(&mut self, now: Instant) -> bool {
        if self.parting.at().is_some_and(|at| at <= now) {
            self.parting = Parting::Due;
        }
        let said = self.parting == Parting::Due && self.say_farewell();
        if said {
            self.parting = Parting::Said;
        }
        said
    }

    /// Appends the farewell to what the client gets, if one may stand there.
    fn say_farewell(&mut self) -> bool {
        let Some(body) = self.body.as_mut().filter(|_| self.ending.is_none()) else { return false };
        let rules = &self.around.rules.sse;
        let retry = jittered(rules.retry, self.around.entry.fraction());
        let failure = rules.error_event.then_some(&FAILURE);
        let mut said = None;
        self.to_client.push_with(|out| said = body.push_farewell(retry, failure, out));
        let Some(farewell) = said else { return false };
        self.meter.own_bytes(farewell.bytes);
        self.timers.over();
        self.ends_whole = farewell.is_whole;
        self.ending = Some(CloseReason::Drained.into());
        true
    }
}

/// Clients that were told at the same moment do not come back at the same moment.
fn jittered(retry: Duration, fraction: f64) -> Duration {
    retry.mul_f64(1.0 + JITTER * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_back_before_the_time_that_is_configured() {
        let retry = Duration::from_secs(2);
        assert_eq!(jittered(retry, 0.0), retry);
        assert_eq!(jittered(retry, 0.5), Duration::from_millis(2500));
        assert_eq!(jittered(Duration::ZERO, 0.9), Duration::ZERO);
    }
}
