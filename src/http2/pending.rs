//! DATA frames that wait in h2 until the connection takes them.
//!
//! h2 bounds the bytes that wait, and not the frames; a frame of one byte costs it a few hundred.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use bytes::Bytes;

/// Frames of one stream that may wait. Events of 200 bytes fill a packet many times with so many,
/// and they cost h2 16 KiB besides their data.
const FRAMES: usize = 64;

/// Counts the frames of one stream.
#[derive(Debug, Default)]
pub(super) struct Pending {
    count: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    frames: AtomicUsize,
    writer: AtomicWaker,
}

/// Data that says when h2 is done with it.
struct Counted {
    data: Box<[u8]>,
    count: Arc<Count>,
}

impl Pending {
    /// Waits until there is a place for a frame.
    pub(super) fn poll_place(&self, cx: &mut Context<'_>) -> Poll<()> {
        let is_free = || self.count.frames.load(Ordering::Acquire) < FRAMES;
        if is_free() {
            return Poll::Ready(());
        }
        self.count.writer.register(cx.waker());
        // One may have become free before there was somebody to be woken.
        if is_free() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// A frame's data; it takes a place until it is dropped.
    pub(super) fn frame(&self, data: &[u8]) -> Bytes {
        self.count.frames.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Counted { data: data.into(), count: Arc::clone(&self.count) })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.count.frames.fetch_sub(1, Ordering::Release) == FRAMES {
            self.count.writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_full_queue_makes_wait_until_a_frame_is_gone() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let pending = Pending::default();
        let mut frames = Vec::new();
        for _ in 0..FRAMES {
            assert!(pending.poll_place(&mut cx).is_ready());
            frames.push(pending.frame(b"x"));
        }
        assert!(pending.poll_place(&mut cx).is_pending());
        let (first, part) = (frames.pop().unwrap(), frames[0].slice(..1));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(pending.poll_place(&mut cx).is_ready());
        assert_eq!(part, "x");
    }
}
