//! Which core threads and processes run on, and how soon.

use std::fs;

use rustix::process::{nice, setsid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

/// The last core that this process may use: interrupts mostly go to the first.
pub(crate) fn last_core() -> usize {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)).unwrap_or(0)
}

/// Ties this thread, and all that it starts, to a core.
pub(crate) fn to(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("compare: cannot pin to core {core}: {error}");
    }
}

/// Puts this process, and all that it starts, before others on the machine, if that is allowed:
/// with fewer interruptions there are fewer cold caches in the figures.
pub(crate) fn first() {
    // Where the kernel groups processes by their session, niceness counts within a session only,
    // and the session has one of its own: so this needs a session that nobody else is in.
    let _ = setsid();
    let _ = nice(-10);
    let _ = fs::write("/proc/self/autogroup", "-10");
}

/// Timers of this thread fire when they are due, not up to 50 µs later.
pub(crate) fn sharp_timers() {
    let _ = set_current_timer_slack(std::num::NonZeroU64::new(1));
}
