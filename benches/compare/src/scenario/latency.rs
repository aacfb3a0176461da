//! How much later an event arrives, and how long the first one takes.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use super::{Against, Column, Measured, Scenario, Settings};
use crate::client::requests::{Plan, Question, Requests};
use crate::client::streams::{self, Streams};
use crate::event::Form;
use crate::noise::Window;
use crate::origin::{Manner, Origin};
use crate::peers::{self, Peer};
use crate::process::Process;
use crate::spread::quantile;

pub(super) const LATENCY: Scenario = Scenario {
    name: "latency",
    title: "Latency of events, and time to the first one",
    how: "300 SSE streams with 20 events a second each; an event's age when the client has it, \
          by a stamp that the origin puts in. Beside them 200 requests a second, over 20 \
          connections that stay open, for a stream of one event: from sending the request to \
          having the event. Nothing is pinned. µs; the row `direct` has no proxy.",
    columns: &[
        Column { title: "event p50", digits: 0, against: Some(Against::Direct) },
        Column { title: "event p99", digits: 0, against: Some(Against::Direct) },
        Column { title: "first event p50", digits: 0, against: Some(Against::Direct) },
        Column { title: "first event p99", digits: 0, against: Some(Against::Direct) },
    ],
    direct: true,
    judged: true,
    measure,
};

const SETTLE: Duration = Duration::from_millis(500);

fn measure(settings: &Settings, peer: &dyn Peer) -> anyhow::Result<Measured> {
    let origin = Origin::start(Manner { rate: 20.0, idle: None, core: None })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, None)?;
    let streams = Streams::open(streams::Plan {
        target: proxy.address,
        form: Form::Sse,
        kind: "paced",
        count: 300,
        reads: true,
        again: true,
        core: None,
    })?;
    let requests = Requests::start(Plan::steady(proxy.address, Question::One, 20, 200.0));
    sleep(SETTLE);
    let window = Window::open(proxy.process.as_ref().map(Process::tree).unwrap_or_default());
    streams.seen.timing.store(true, Ordering::Relaxed);
    requests.seen.timing.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs_f64(settings.seconds));
    streams.seen.timing.store(false, Ordering::Relaxed);
    requests.seen.timing.store(false, Ordering::Relaxed);
    let used = window.close();
    // The client hands over what it has at its next look.
    sleep(Duration::from_millis(100));
    let failed =
        streams.seen.failed.load(Ordering::Relaxed) + requests.seen.failed.load(Ordering::Relaxed);
    anyhow::ensure!(failed == 0, "{failed} streams and requests failed");
    let mut ages = micros(&streams.seen.ages);
    let mut waited = micros(&requests.seen.waited);
    anyhow::ensure!(!ages.is_empty() && !waited.is_empty(), "nothing arrives");
    Ok(Measured {
        values: vec![
            quantile(&mut ages, 0.5),
            quantile(&mut ages, 0.99),
            quantile(&mut waited, 0.5),
            quantile(&mut waited, 0.99),
        ],
        others: used.others,
    })
}

fn micros(ns: &Mutex<Vec<u64>>) -> Vec<f64> {
    ns.lock().map(|ns| ns.iter().map(|ns| *ns as f64 / 1e3).collect()).unwrap_or_default()
}
