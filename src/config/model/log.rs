//! `[log]` and `[tracing]`: what is written of exchanges, and how they are found elsewhere.

use std::path::PathBuf;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severe level that is written.
    pub level: Level,
    /// JSON lines or text; `None` chooses text on a terminal, JSON elsewhere.
    pub format: Option<LogFormat>,
    /// Where lines go; `None` is standard output.
    pub file: Option<PathBuf>,
    /// `[log.access]`.
    pub access: AccessLog,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One readable line.
    Text,
}

/// `[log.access]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// A line when an exchange ends.
    pub enabled: bool,
    /// A line when a stream opens, too.
    pub stream_start: bool,
    /// Of the exchanges that go well, those that have lines. Failures always have.
    pub sample: Share,
}

/// A share of everything, from none to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u128);

impl Share {
    /// All.
    pub const ALL: Self = Self(1 << 64);

    /// It as a number from 0.0 to 1.0.
    pub fn fraction(self) -> f64 {
        self.0 as f64 / Self::ALL.0 as f64
    }

    /// From 0.0 to 1.0.
    pub fn new(fraction: f64) -> Self {
        // Exact: a power of two.
        Self((fraction * Self::ALL.0 as f64) as u128)
    }

    /// Whether whoever draws belongs to it; numbers are to be drawn evenly from all.
    pub fn takes(self, draw: impl FnOnce() -> u64) -> bool {
        self == Self::ALL || u128::from(draw()) < self.0
    }
}

/// `[tracing]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Whether `traceparent` is read and written; else it passes like any other field.
    pub propagate: bool,
    /// `tracing.otlp`: where spans go.
    pub otlp: Otlp,
}

/// `tracing.otlp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Whether there are any. If so, `propagate` is on, too.
    pub enabled: bool,
    /// Name of the upstream that takes them, in [`Config::upstreams`] if this is enabled.
    ///
    /// [`Config::upstreams`]: super::Config::upstreams
    pub upstream: String,
    /// What it is asked for.
    pub target: String,
    /// Of the traces that begin here, those that are recorded.
    pub sample: Share,
}

impl Otlp {
    /// Whether a trace that begins here is recorded; `low` are the last 64 bits of its id.
    pub fn samples(&self, low: u64) -> bool {
        self.enabled && self.sample.takes(|| low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_from_none_to_all() {
        for (fraction, in_it, outside) in [
            (0.0, None, Some(0)),
            (1.0, Some(u64::MAX), None),
            (0.5, Some((1 << 63) - 1), Some(1 << 63)),
            (0.25, Some((1 << 62) - 1), Some(1 << 62)),
        ] {
            let share = Share::new(fraction);
            assert!(in_it.is_none_or(|drawn| share.takes(|| drawn)), "{fraction}");
            assert!(outside.is_none_or(|drawn| !share.takes(|| drawn)), "{fraction}");
        }
        assert_eq!(Share::new(1.0), Share::ALL);
    }
}
