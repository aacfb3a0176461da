//! A panic that goes no further: what has panicked ends, or is begun anew.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

/// Until something that has panicked is begun anew: it may do so again and again.
const PAUSE: Duration = Duration::from_secs(1);

/// There was a panic; the log has it.
#[derive(Debug)]
pub struct Panicked;

/// Runs `work` to its end, or to its panic. It is dropped in either case, and so gives back what it
/// holds. What it has borrowed must be of use in whatever state it was left.
///
/// Not an `async fn`: that would hold room for `work` twice.
pub fn contain<F: Future>(work: F) -> impl Future<Output = Result<F::Output, Panicked>> {
    AssertUnwindSafe(work).catch_unwind().map(|ended| ended.map_err(|_| Panicked))
}

/// Does what has to go on in the background as long as there is a process: what `begin` begins, to
/// its end. What panics is begun anew, with nothing of what it knew.
pub async fn keep_up<F>(task: &'static str, begin: impl Fn() -> F)
where
    F: Future<Output = ()> + Send,
{
    while contain(begin()).await.is_err() {
        tracing::error!(task, "a background task has panicked and is begun anew");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_begun_anew_and_what_ends_is_not() {
        let began = AtomicUsize::new(0);
        let (began, begun) = (&began, tokio::time::Instant::now());
        let task = || async move {
            tokio::task::yield_now().await;
            assert!(began.fetch_add(1, Ordering::Relaxed) == 2, "for this test");
        };
        keep_up("test", task).await;
        assert_eq!(began.load(Ordering::Relaxed), 3);
        assert_eq!(begun.elapsed().as_secs(), 2 * PAUSE.as_secs(), "with a pause each time");
    }

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
