//! The first steps of a request on a connection that its upstream may be closing just now. Pure.
//!
//! A server closes connections that were idle for too long, and a request can arrive in that very
//! moment. Whether somebody has read it is then hard to tell from outside: bytes are acknowledged
//! by the kernel, at once or up to 40 ms and more later, whether or not they are read. So the end
//! of the head is kept back until it is known that somebody reads. Until then nobody can have acted
//! on the request, and it may be sent anew elsewhere, whatever its method.
//!
//! How that is known: a receiver acknowledges at once or late.
//!
//! - At once, if it has not been answering fast (Linux: not in "pingpong mode"). Then whatever is
//!   not acknowledged has not arrived, and a connection that is reset with the rest unacknowledged
//!   had been closed before the rest came. There is time for that to show: the rest follows a
//!   millisecond later.
//! - Late, if it has. Then a read that empties the socket is acknowledged at once all the same if
//!   two pushed segments had come (`ICSK_ACK_PUSHED2` in `tcp_cleanup_rbuf`). So a second segment
//!   goes out, and an acknowledgement that comes sooner than a late one could is a read.

use std::time::{Duration, Instant};

/// The end of the head that is kept back: half of the empty line.
const KEPT_BACK: usize = 2;
/// The second segment.
const SECOND: usize = 2;
/// Between two looks: a timer's tick.
const LOOK: Duration = Duration::from_millis(1);

/// An acknowledgement at once is there by then, on a network as fast as most between a proxy and
/// its upstreams.
const AT_ONCE: Duration = Duration::from_millis(3);

/// Lets a request's head out by steps.
#[derive(Debug)]
pub struct Gate {
    /// What is left of the segment that is being written.
    left: usize,
    is_second: bool,
    patience: Duration,
    /// Since the segment is written: when that was, and when to look next.
    listening: Option<(Instant, Instant)>,
}

/// What a look at the connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The rest may go out.
    Open {
        /// What is received is acknowledged at once, so what is not acknowledged was not received.
        at_once: bool,
    },
    /// It is too early to tell.
    Wait,
    /// Another segment is to go out.
    Write,
    /// Nobody reads; perhaps nobody will.
    Stale,
}

impl Gate {
    /// For a head of so many bytes. `patience` is how soon somebody who reads is heard; `None` if
    /// the head is too short for two segments.
    pub fn new(head_length: usize, patience: Duration) -> Option<Self> {
        let left = head_length.checked_sub(SECOND + KEPT_BACK).filter(|first| *first > 0)?;
        Some(Self { left, is_second: false, patience, listening: None })
    }

    /// How many bytes the next write may have at most; 0 while it is waited.
    pub fn allowance(&self) -> usize {
        self.left
    }

    /// So many bytes were written.
    pub fn wrote(&mut self, count: usize, now: Instant) {
        self.left -= count.min(self.left);
        if self.left == 0 {
            self.listening = Some((now, now + LOOK));
        }
    }

    /// When to look next, once a segment is written.
    pub fn look_at(&self) -> Option<Instant> {
        self.listening.map(|(_, look_at)| look_at)
    }

    /// Looks; `acknowledged` says whether everything that was written is.
    pub fn look(&mut self, acknowledged: bool, now: Instant) -> Look {
        let Some((since, look_at)) = &mut self.listening else { return Look::Wait };
        let waited = now.saturating_duration_since(*since);
        let limit = if self.is_second { self.patience } else { AT_ONCE };
        match () {
            () if acknowledged && waited < self.patience => Look::Open { at_once: !self.is_second },
            () if waited < limit => {
                *look_at = now + LOOK;
                Look::Wait
            }
            () if self.is_second || waited >= self.patience => Look::Stale,
            () => {
                self.left = SECOND;
                self.is_second = true;
                self.listening = None;
                Look::Write
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(30);

    fn written(now: Instant) -> Gate {
        let mut gate = Gate::new(100, PATIENCE).unwrap();
        assert_eq!((gate.allowance(), gate.look_at()), (96, None));
        gate.wrote(90, now);
        assert_eq!(gate.allowance(), 6, "the rest of the first segment");
        gate.wrote(6, now);
        assert_eq!((gate.allowance(), gate.look_at()), (0, Some(now + LOOK)));
        gate
    }

    #[test]
    fn what_is_acknowledged_at_once_tells_by_its_absence() {
        let now = crate::clock::now();
        assert_eq!(written(now).look(true, now + LOOK), Look::Open { at_once: true });
        assert_eq!(written(now).look(true, now + PATIENCE), Look::Stale, "by a timer");
    }

    #[test]
    fn a_second_segment_makes_a_read_known() {
        let now = crate::clock::now();
        let second = || {
            let mut gate = written(now);
            assert_eq!(gate.look(false, now + LOOK), Look::Wait);
            assert_eq!(gate.look_at(), Some(now + 2 * LOOK));
            assert_eq!(gate.look(false, now + AT_ONCE), Look::Write);
            assert_eq!((gate.allowance(), gate.look_at()), (SECOND, None));
            gate.wrote(SECOND, now + AT_ONCE);
            assert_eq!(gate.allowance(), 0, "the end stays");
            gate
        };
        assert_eq!(second().look(true, now + AT_ONCE + LOOK), Look::Open { at_once: false });
        assert_eq!(second().look(false, now + AT_ONCE + LOOK), Look::Wait);
        let late = now + AT_ONCE + PATIENCE;
        assert_eq!(second().look(true, late), Look::Stale, "a late acknowledgement is no read");
        assert!(Gate::new(4, PATIENCE).is_none());
    }
}
