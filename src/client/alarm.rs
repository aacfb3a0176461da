//! Wakes a connection's task when something is due.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

/// One timer for all that a connection waits for, from one request to the next.
///
/// It is asked at every event and has to be set for one silence: a time that comes later than the
/// one it is set to leaves it alone, and the task is woken once in vain. A connection that is in
/// use sets a timer every few seconds rather than several for each request, and a request that is
/// over before its task has to wait sets none.
#[derive(Default)]
pub struct Alarm {
    /// When it rings.
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Lets it ring at that time, unless it rings before.
    pub fn ring_by(&mut self, at: Instant) {
        if self.at.is_none_or(|before| at < before) {
            self.at = Some(at);
        }
    }

    /// Whether it rings at `now`.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Has rung, or need not: it waits for [`Self::ring_by`].
    pub fn silence(&mut self) {
        self.at = None;
    }

    /// Has the task woken when it rings, or before; ready if it has rung already. It has to be the
    /// same task every time, and one that looks at [`Self::is_due`] whenever it is woken.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = match &mut self.timer {
            // It has the task's waker, and uses it in time.
            Some(timer) if !timer.is_elapsed() && timer.deadline().into_std() <= at => {
                return Poll::Pending;
            }
            Some(timer) => {
                timer.as_mut().reset(at.into());
                timer
            }
            None => self.timer.insert(Box::pin(sleep_until(at.into()))),
        };
        // Unconstrained: a look that is put off until the task's next turn sets nothing.
        pin!(unconstrained(timer.as_mut())).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn it_rings_at_the_earliest_time_however_often_the_task_is_woken() {
        let began = clock::now();
        let mut alarm = Alarm::default();
        alarm.ring_by(began + Duration::from_secs(3600));
        alarm.ring_by(began + Duration::from_millis(30));
        alarm.ring_by(began + Duration::from_secs(1800));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if alarm.is_due(clock::now()) {
                return Poll::Ready(());
            }
            // Something else wakes the task a few times.
            if polls < 5 {
                cx.waker().wake_by_ref();
            }
            alarm.poll(cx)
        })
        .await;
        let rang = clock::now() - began;
        assert!(rang >= Duration::from_millis(30) && rang < Duration::from_secs(60), "{rang:?}");
        assert!(polls >= 6, "{polls}");

        alarm.silence();
        assert!(!alarm.is_due(clock::now()));
        alarm.ring_by(clock::now() + Duration::from_millis(10));
        rings(&mut alarm).await;
    }

    /// Waits until it rings, as its users do.
    async fn rings(alarm: &mut Alarm) {
        let rings = poll_fn(|cx| match alarm.is_due(clock::now()) {
            true => Poll::Ready(()),
            false => alarm.poll(cx),
        });
        let began = clock::now();
        // What looks at the clock is asked once more when the time is over.
        let rang = tokio::time::timeout(Duration::from_secs(10), rings).await;
        assert!(rang.is_ok() && clock::now() - began < Duration::from_secs(9), "it does not ring");
    }

    #[tokio::test]
    async fn a_time_later_than_the_one_it_was_set_to_is_rung_all_the_same() {
        let mut alarm = Alarm::default();
        alarm.ring_by(clock::now() + Duration::from_millis(10));
        poll_fn(|cx| {
            assert!(alarm.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        // Nobody looks when it fires.
        alarm.silence();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let later = clock::now() + Duration::from_millis(30);
        alarm.ring_by(later);
        rings(&mut alarm).await;
        assert!(clock::now() >= later);
    }

    #[tokio::test]
    async fn it_is_set_by_a_task_that_has_used_up_its_turn() {
        let mut alarm = Alarm::default();
        alarm.ring_by(clock::now() + Duration::from_millis(30));
        poll_fn(|cx| {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            assert!(alarm.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        rings(&mut alarm).await;
    }
}
