//! Memory of the proxy for each open stream: what it has more of than before the first one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::{Column, Measured, Scenario, Settings};
use crate::client::streams::{self, Streams};
use crate::event::Form;
use crate::noise::Window;
use crate::origin::{Manner, Origin};
use crate::peers::{self, Peer};
use crate::{clock, process};

pub(super) const SSE: Scenario = Scenario {
    name: "memory-sse",
    title: "Memory per idle SSE stream",
    how: "A fresh process, 9,000 streams that have had one event and are silent.",
    columns: COLUMNS,
    direct: false,
    judged: true,
    measure: |settings, peer| idle(settings, peer, Form::Sse),
};

pub(super) const WEBSOCKET: Scenario = Scenario {
    name: "memory-websocket",
    title: "Memory per idle WebSocket",
    how: "A fresh process, 9,000 WebSockets that have had one push and are silent.",
    columns: COLUMNS,
    direct: false,
    judged: true,
    measure: |settings, peer| idle(settings, peer, Form::WebSocket),
};

pub(super) const STALLED: Scenario = Scenario {
    name: "stalled",
    title: "Memory per stalled reader of SSE",
    how: "A fresh process, 300 clients that read no more after the first event, an origin that \
          sends as fast as it can until nobody takes anything any more.",
    columns: COLUMNS,
    direct: false,
    judged: true,
    measure: stalled,
};

const COLUMNS: &[Column] = &[
    Column { title: "KiB per stream (RssAnon)", digits: 1, against: None },
    Column { title: "KiB per stream (Pss_Anon)", digits: 1, against: None },
];

const IDLE: usize = 9_000;
const STALLED_READERS: usize = 300;

/// Until what opening needed has been given back, as far as it will be.
const SETTLE: Duration = Duration::from_secs(1);

fn idle(settings: &Settings, peer: &dyn Peer, form: Form) -> anyhow::Result<Measured> {
    measure(settings, peer, form, "idle", IDLE)
}

fn stalled(settings: &Settings, peer: &dyn Peer) -> anyhow::Result<Measured> {
    measure(settings, peer, Form::Sse, "flood", STALLED_READERS)
}

fn measure(
    settings: &Settings,
    peer: &dyn Peer,
    form: Form,
    kind: &'static str,
    count: usize,
) -> anyhow::Result<Measured> {
    let origin = Origin::start(Manner { rate: 1.0, idle: None, core: None })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, None)?;
    let pids = proxy.process.as_ref().map(process::Process::tree).unwrap_or_default();
    let window = Window::open(pids.clone());
    let before = process::memory(&pids);
    let target = proxy.address;
    let plan = streams::Plan { target, form, kind, count, reads: false, again: true, core: None };
    let streams = Streams::open(plan)?;
    wait_until_still(&origin.seen.flooded)?;
    sleep(SETTLE);
    let after = process::memory(&pids);
    let failed = streams.seen.failed.load(Ordering::Relaxed);
    anyhow::ensure!(failed == 0, "{failed} streams failed");
    let each = |after: u64, before: u64| (after as f64 - before as f64) / count as f64;
    Ok(Measured {
        values: vec![each(after.rss_anon, before.rss_anon), each(after.pss_anon, before.pss_anon)],
        others: window.close().others,
    })
}

/// Waits until a count has not changed for a while.
fn wait_until_still(count: &AtomicU64) -> anyhow::Result<()> {
    let deadline = clock::now() + 20_000_000_000;
    let mut last = count.load(Ordering::Relaxed);
    loop {
        sleep(Duration::from_millis(500));
        let now = count.load(Ordering::Relaxed);
        if now == last {
            return Ok(());
        }
        anyhow::ensure!(clock::now() < deadline, "the origin can send without end");
        last = now;
    }
}
