//! What a session, its wire and its exchanges know together.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;

use super::flood::Flood;

/// One for each connection.
#[derive(Default)]
pub(super) struct Shared {
    /// The session's task.
    task: AtomicWaker,
    /// Exchanges that are open.
    open: AtomicUsize,
    /// Bytes that came from the client.
    heard: AtomicU64,
    /// Bytes that the connection took from us.
    told: AtomicU64,
    /// It did not take all that it could.
    is_blocked: AtomicBool,
    flood: OnceLock<Flood>,
    /// Since when the client owes the rest of a head.
    awaits_head: Mutex<Option<Instant>>,
    /// Streams that are to be reset, and why.
    cuts: Mutex<Vec<Cut>>,
}

/// A stream that ends before its response does.
pub(super) struct Cut {
    pub(super) stream: SendResponse<Bytes>,
    pub(super) reason: Reason,
}

impl Shared {
    /// Wakes this task when there is something for the session to do.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// An exchange begins.
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// An exchange ends; `cut` if it is broken off.
    ///
    /// The session resets the stream after it has sent what it can: h2 drops what waits behind a
    /// reset, and the client should have all that there was.
    pub(super) fn end(&self, cut: Option<Cut>) {
        if let Some(cut) = cut {
            self.cuts.lock().unwrap_or_else(PoisonError::into_inner).push(cut);
        }
        self.open.fetch_sub(1, Ordering::Release);
        self.task.wake();
    }

    /// Exchanges that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Takes the streams that are to be reset.
    pub(super) fn cuts(&self) -> Vec<Cut> {
        mem::take(&mut *self.cuts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many bytes came.
    pub(super) fn heard(&self, bytes: usize) {
        self.heard.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All bytes that came.
    pub(super) fn heard_bytes(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// The connection took so many bytes, of that many.
    pub(super) fn told(&self, bytes: usize, of: usize) {
        self.told.fetch_add(bytes as u64, Ordering::Relaxed);
        self.is_blocked.store(bytes < of, Ordering::Relaxed);
    }

    /// Whether bytes wait that the connection did not take.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// All bytes that the connection took.
    pub(super) fn told_bytes(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// The client sends too much of something.
    pub(super) fn flooded(&self, flood: Flood) {
        // The first is the reason.
        let _ = self.flood.set(flood);
        self.task.wake();
    }

    /// The client owes the rest of a head, since then; or it does not, or what it has sent is still
    /// to be read.
    pub(super) fn awaits_head(&self, since: Option<Instant>) {
        *self.awaits_head.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Since when the client owes the rest of a head.
    pub(super) fn head_since(&self) -> Option<Instant> {
        *self.awaits_head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client sends too much of.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get().copied()
    }
}
