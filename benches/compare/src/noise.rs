//! What a stretch of time cost: the proxy's CPU, and that of everything else on the machine.

use std::fs;

use crate::{clock, process};

/// A stretch of time that is being measured.
pub(crate) struct Window {
    began: Reading,
    pids: Vec<u32>,
}

/// What it came to.
pub(crate) struct Used {
    /// How long it was, in seconds.
    pub(crate) seconds: f64,
    /// CPU of the proxy, in ns.
    pub(crate) proxy: u64,
    /// CPU of processes that are not ours, niced ones and the hypervisor's included, as a share of
    /// one core: 0.1 is a tenth of a core.
    pub(crate) others: f64,
}

/// What /proc counts CPU time in, in ns: USER_HZ is 100 on every Linux that this runs on.
pub(crate) const TICK: u64 = 10_000_000;

struct Reading {
    at: u64,
    proxy: u64,
    ours: u64,
    busy: u64,
}

impl Window {
    /// Begins to measure processes.
    pub(crate) fn open(pids: Vec<u32>) -> Self {
        Self { began: Reading::now(&pids), pids }
    }

    pub(crate) fn close(&self) -> Used {
        let (from, to) = (&self.began, Reading::now(&self.pids));
        let proxy = to.proxy.saturating_sub(from.proxy);
        let known = proxy + to.ours.saturating_sub(from.ours);
        let length = (to.at - from.at).max(1);
        let others = (to.busy - from.busy).saturating_sub(known);
        Used { seconds: clock::seconds(length), proxy, others: others as f64 / length as f64 }
    }
}

impl Reading {
    fn now(pids: &[u32]) -> Self {
        Self {
            at: clock::now(),
            proxy: pids.iter().map(|pid| process::cpu(*pid)).sum(),
            ours: process::cpu(std::process::id()),
            busy: busy(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        }
    }
}

/// CPU time of the whole machine, in ns, from /proc/stat: user, nice, system, irq, softirq, steal.
fn busy(stat: &str) -> u64 {
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum::<u64>() * TICK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_busy() {
        assert_eq!(busy("cpu  1 2 3 1000 2000 4 5 6 70 80\ncpu0 9 9"), 21 * 10_000_000);
    }
}
