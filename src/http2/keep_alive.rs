//! Finds a peer that is gone while its connection still seems open. Pure.

use std::time::{Duration, Instant};

/// When to ask a silent peer whether it is there, and how long to wait for its word.
#[derive(Debug)]
pub struct KeepAlive {
    ping_after: Duration,
    pong_within: Duration,
    /// When something last came from it.
    heard: Instant,
    /// When it was asked, if it has said nothing since.
    pinged: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Look again at [`KeepAlive::next`].
    Nothing,
    /// Send a ping.
    Ping,
    /// Nobody is there.
    Dead,
}

impl KeepAlive {
    /// Begins now, as if something had just been heard.
    pub fn new(ping_after: Duration, pong_within: Duration, now: Instant) -> Self {
        Self { ping_after, pong_within, heard: now, pinged: None }
    }

    /// Something came, a pong or anything else: data behind which a pong waits is as good a sign.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// When to ask [`Self::due`] again.
    pub fn next(&self, now: Instant) -> Instant {
        match self.pinged {
            Some(at) => at + self.pong_within,
            // Silence of a connection that nobody used may be longer already.
            None if self.heard + self.ping_after <= now => now + self.ping_after,
            None => self.heard + self.ping_after,
        }
    }

    /// What is due, with that many streams open. A connection that nobody uses is left alone.
    pub fn due(&mut self, streams: usize, now: Instant) -> Due {
        match self.pinged {
            Some(at) if now >= at + self.pong_within => Due::Dead,
            None if streams > 0 && now >= self.heard + self.ping_after => {
                self.pinged = Some(now);
                Due::Ping
            }
            _ => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const PING: Duration = Duration::from_secs(30);
    const PONG: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_asked_about_and_then_deadly() {
        let start = clock::now();
        let mut alive = KeepAlive::new(PING, PONG, start);
        assert_eq!(alive.next(start), start + PING);
        assert_eq!(alive.due(1, start + PING - SECOND), Due::Nothing);
        assert_eq!(alive.due(1, start + PING), Due::Ping);
        assert_eq!(alive.next(start + PING), start + PING + PONG);
        assert_eq!(alive.due(1, start + PING + PONG - SECOND), Due::Nothing, "asked only once");
        assert_eq!(alive.due(0, start + PING + PONG), Due::Dead);
    }

    #[test]
    fn any_word_is_a_sign_of_life() {
        let start = clock::now();
        let mut alive = KeepAlive::new(PING, PONG, start);
        assert_eq!(alive.due(1, start + PING), Due::Ping);
        alive.heard(start + PING + SECOND);
        assert_eq!(alive.due(1, start + PING + PONG), Due::Nothing);
        assert_eq!(alive.next(start + PING + PONG), start + PING + SECOND + PING);
    }

    #[test]
    fn an_unused_connection_is_left_alone() {
        let start = clock::now();
        let mut alive = KeepAlive::new(PING, PONG, start);
        let later = start + PING * 10;
        assert_eq!(alive.due(0, later), Due::Nothing);
        assert_eq!(alive.next(later), later + PING, "the timer does not spin");
        assert_eq!(alive.due(1, later), Due::Ping);
    }
}
