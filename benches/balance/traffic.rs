//! Chat-like traffic: when conversations come, how many turns they have, how long an answer
//! streams.

use std::f64::consts::TAU;

/// An answer's length is log-normal: half of them take less than this many seconds …
const MEDIAN_SECS: f64 = 20.0;
/// … and a sixth take more than four times that (e to this power).
const SIGMA: f64 = 1.4;
/// No stream is longer than an hour.
const LONGEST_SECS: f64 = 3600.0;
/// Turns of a conversation, on average.
const TURNS: f64 = 6.0;
/// Seconds that a person reads and types, on average.
const PAUSE_SECS: f64 = 60.0;

/// What the traffic is, for the head of the tables.
pub(crate) fn describe() -> String {
    format!(
        "Answers stream for {MEDIAN_SECS} s in the median and {:.0} s on average, log-normal, up to \
         an hour; a\nconversation has {TURNS} turns on average, with {PAUSE_SECS} s between them.",
        mean_secs()
    )
}

/// The mean of the log-normal; the cut at an hour takes less than a percent of it.
pub(crate) fn mean_secs() -> f64 {
    MEDIAN_SECS * (SIGMA * SIGMA / 2.0).exp()
}

/// A source of traffic. What it gives depends on nothing but the seed and the order of calls.
pub(crate) struct Traffic {
    state: u64,
    /// Conversations per second.
    rate: f64,
}

impl Traffic {
    /// As much as keeps that many streams open on average.
    pub(crate) fn new(open_streams: f64, seed: u64) -> Self {
        // A state of 0 would stay 0.
        Self { state: seed | 1 << 40, rate: open_streams / mean_secs() / TURNS }
    }

    /// Seconds to the next conversation.
    pub(crate) fn gap(&mut self) -> f64 {
        self.exponential(1.0 / self.rate)
    }

    /// Turns of a conversation: geometric, at least one.
    pub(crate) fn turns(&mut self) -> usize {
        1 + (self.unit().ln() / (1.0 - 1.0 / TURNS).ln()) as usize
    }

    /// Seconds from an answer to the next question.
    pub(crate) fn pause(&mut self) -> f64 {
        self.exponential(PAUSE_SECS)
    }

    /// Seconds that an answer streams.
    pub(crate) fn length(&mut self) -> f64 {
        // Box and Muller's way to a normal distribution.
        let normal = (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos();
        (MEDIAN_SECS * (SIGMA * normal).exp()).min(LONGEST_SECS)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Above 0, up to 1 (xorshift64*, Vigna 2016).
    fn unit(&mut self) -> f64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let bits = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        (bits + 1) as f64 / (1_u64 << 53) as f64
    }
}
