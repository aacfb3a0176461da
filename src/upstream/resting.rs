//! The idle connections of one endpoint, and the task that watches them.
//!
//! This is not pingora's pool, which starts a task with a timer for each connection that is given
//! back, wakes it when the connection is wanted again, waits for it to let go, and builds an
//! endpoint's list anew whenever that was empty: a sixth of what a short request costs. Here, to
//! give back and to take is to touch a list. One task watches all that is in it; it is woken by the
//! connection that the other end closes, and when one has been idle for long enough.

use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;

use super::connection::Connection;
use super::endpoint::Endpoint;
use crate::clock;

/// All of them.
#[derive(Default)]
pub(super) struct Resting(Mutex<List>);

#[derive(Default)]
struct List {
    /// The last that came is the first to go, so that those of which there is no need grow old.
    connections: Vec<Connection>,
    /// None if nobody watches.
    watch: Option<Watch>,
}

/// What is known here of the task that watches.
struct Watch {
    waker: Waker,
    /// When it looks by itself.
    at: Option<Instant>,
}

impl Resting {
    /// Takes in a connection, unless it has ended already. Must be called inside a runtime.
    pub(super) fn put(&self, mut connection: Connection) {
        let mut list = self.lock();
        let watch = list.watch.get_or_insert_with(|| {
            // Unconstrained: it would take a look that was put off for one that found nothing.
            tokio::spawn(unconstrained(watch(Arc::downgrade(connection.endpoint()))));
            // It will look at all of them first of all.
            Watch { waker: Waker::noop().clone(), at: None }
        });
        // Under the lock, so that whoever is woken finds it in the list.
        if connection.has_ended(&mut Context::from_waker(&watch.waker)) {
            drop(list);
            return;
        }
        let is_sooner = |ends: Instant| watch.at.is_none_or(|at| ends < at);
        if connection.rests_until().is_some_and(is_sooner) {
            watch.waker.wake_by_ref();
        }
        list.connections.push(connection);
    }

    /// One of them, good or not.
    pub(super) fn take(&self) -> Option<Connection> {
        self.lock().connections.pop()
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        let mut list = self.lock();
        let gone = std::mem::take(&mut list.connections);
        list.watch.iter().for_each(|watch| watch.waker.wake_by_ref());
        drop(list);
        drop(gone);
    }

    /// Closes those that have ended, and says when to look again; the task of `cx` is woken before
    /// that if another one ends. Breaks off when none are left.
    fn sweep(&self, cx: &mut Context<'_>, now: Instant) -> ControlFlow<(), Option<Instant>> {
        let mut list = self.lock();
        let ended = |connection: &mut Connection| {
            connection.rests_until().is_some_and(|ends| ends <= now) || connection.has_ended(cx)
        };
        let gone: Vec<_> = list.connections.extract_if(.., ended).collect();
        let at = list.connections.iter().filter_map(Connection::rests_until).min();
        let is_empty = list.connections.is_empty();
        list.watch = (!is_empty).then(|| Watch { waker: cx.waker().clone(), at });
        drop(list);
        drop(gone);
        if is_empty { Break(()) } else { Continue(at) }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // No panic can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        // Whoever watches learns that there is nothing left to watch.
        self.clear();
    }
}

async fn watch(endpoint: Weak<Endpoint>) {
    let mut sleep = pin!(tokio::time::sleep_until(clock::now().into()));
    let mut not_before = clock::now();
    poll_fn(|cx| {
        loop {
            let Some(endpoint) = endpoint.upgrade() else { return Poll::Ready(()) };
            let now = clock::now();
            let next = if now < not_before {
                not_before
            } else {
                let swept = endpoint.resting().sweep(cx, now);
                let Continue(at) = swept else { return Poll::Ready(()) };
                not_before = now + BETWEEN_LOOKS;
                let Some(at) = at else { return Poll::Pending };
                at.max(not_before)
            };
            sleep.as_mut().reset(next.into());
            ready!(sleep.as_mut().poll(cx));
        }
    })
    .await;
}

/// Each look is at all of them, so that ten thousand that end one by one must not cause ten
/// thousand looks. Whoever takes one looks for itself.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
