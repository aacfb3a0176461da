//! A response that has begun: passed on to its end, of which the client is told as far as it can
//! be.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::forward::Forward;
use super::reply::Denial;
use super::tries::{Ended, Relay};
use crate::relay::drive::{End, Event};
use crate::sse::dialect::Failure;

impl Forward<'_> {
    /// Passes a response on to its end.
    pub(super) fn flow(&self, link: &mut Relay<'_>) -> impl Future<Output = End> {
        poll_fn(|cx| {
            loop {
                // There is nothing to decide any more.
                if let Event::End(end) = ready!(link.poll_event(cx)) {
                    return Poll::Ready(end);
                }
            }
        })
    }

    /// Tells the client of a failure in the middle of its stream, as far as it can be told; gives
    /// how it ended after that. The `denial` says more than the end, if there is one.
    pub(super) async fn tell(&self, link: &mut Relay<'_>, end: End, denial: Box<Denial>) -> Ended {
        let told = Failure { status: denial.status, kind: denial.kind, message: &denial.message };
        match link.fail(&told, end) {
            true => (self.flow(link).await, None),
            false => (end, None),
        }
    }
}
