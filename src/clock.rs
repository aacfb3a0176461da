//! The only place that reads the clock.
//!
//! Everything else is given `now`, so that an hour of silence is a test of microseconds.

use std::time::{Instant, SystemTime};

/// The monotonic time: for deadlines and durations.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall-clock time: for the `Date` field.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
