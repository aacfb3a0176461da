//! What can be measured: each scenario is a question, its columns, and a function that measures one
//! proxy once.

mod cpu;
mod latency;
mod memory;
mod upstream;

use crate::peers::Peer;
use crate::scratch::Scratch;

/// What is the same for all measurements.
pub(crate) struct Settings {
    /// How long a window is.
    pub(crate) seconds: f64,
    /// How many times the usual events and requests there are in a second.
    pub(crate) pace: f64,
    /// The core to which origin, client and proxy are tied.
    pub(crate) core: usize,
    pub(crate) scratch: Scratch,
}

/// A value that is measured.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Behind the point.
    pub(crate) digits: usize,
    /// What it is compared with, in a column of its own.
    pub(crate) against: Option<Against>,
}

/// What a value is compared with, in the same round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// A multiple of the relay's: what it costs at least.
    Relay,
    /// What is added to what it is without a proxy.
    Direct,
}

/// One measurement of one proxy.
pub(crate) struct Measured {
    /// As many as there are columns.
    pub(crate) values: Vec<f64>,
    /// CPU of other processes meanwhile, as a share of a core.
    pub(crate) others: f64,
}

pub(crate) struct Scenario {
    /// What it is called in `--scenario`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// How it is measured, in a sentence.
    pub(crate) how: &'static str,
    pub(crate) columns: &'static [Column],
    /// Whether there is anything to measure without a proxy.
    pub(crate) direct: bool,
    /// Whether two copies of a build can say how far it is to be trusted: not what is counted.
    pub(crate) judged: bool,
    pub(crate) measure: fn(&Settings, &dyn Peer) -> anyhow::Result<Measured>,
}

/// All of them, in the order in which they run.
pub(crate) const ALL: &[Scenario] = &[
    cpu::SSE,
    cpu::WEBSOCKET,
    cpu::JSON,
    latency::LATENCY,
    memory::SSE,
    memory::WEBSOCKET,
    memory::STALLED,
    upstream::REUSE,
    upstream::CANCEL,
    upstream::RACE,
];
