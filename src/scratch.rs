//! Buffers that belong to a thread, not to an exchange: a silent stream holds none.

use std::cell::RefCell;

/// Read at most this much at once: several events that came together go out in one write, and what
/// a client does not take of it is what it costs while it stalls.
const READ_BYTES: usize = 24 * 1024;

/// Space to read into and to encode into.
pub struct Scratch {
    /// For one read.
    pub read: Box<[u8]>,
    /// For what is to be written; empty between uses.
    pub out: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        read: vec![0; READ_BYTES].into_boxed_slice(),
        // Chunk framing needs a little more than what was read.
        out: Vec::with_capacity(READ_BYTES + READ_BYTES / 4),
    });
}

/// Lends this thread's buffers. Must not be called again inside `work`; polls do not nest.
pub fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        // After a panic in here, another exchange's bytes would still be there.
        scratch.out.clear();
        work(scratch)
    })
}
