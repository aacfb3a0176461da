//! A panic that goes no further.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// There was a panic; the log has it (see [`crate::telemetry::panics`]).
#[derive(Debug)]
pub(super) struct Panicked;

/// Runs `work` to its end, or to its panic. It is dropped in either case, and so gives back what it
/// holds. What it has borrowed must be of use in whatever state it was left.
pub(super) async fn contain<T>(
    mut work: Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> Result<T, Panicked> {
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(Err(Panicked)), |polled| polled.map(Ok))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_held_is_given_back() {
        let held = std::sync::Arc::new(());
        let within = std::sync::Arc::clone(&held);
        let work = Box::pin(async move {
            tokio::task::yield_now().await;
            let _within = within;
            let nothing: &[u8] = &[];
            nothing[std::hint::black_box(0)]
        });
        assert!(contain(work).await.is_err());
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
        assert_eq!(contain(Box::pin(async { 7 })).await.unwrap(), 7);
    }
}
