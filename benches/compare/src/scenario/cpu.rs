//! CPU of the proxy for each event and each request, at a pace that is the same for all. Origin,
//! client and proxy share one core, as then nothing else differs between two runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::{Against, Column, Measured, Scenario, Settings};
use crate::client::requests::{Plan, Question, Requests};
use crate::client::streams::{self, Streams};
use crate::event::Form;
use crate::noise::Window;
use crate::origin::{Manner, Origin};
use crate::peers::{self, Peer, Running};

pub(super) const SSE: Scenario = Scenario {
    name: "sse",
    title: "CPU per paced SSE event",
    how: "300 streams with 20 events of 300 bytes a second each, one event per write, the \
          streams spread evenly over the tick; origin, client and proxy on one core.",
    columns: EVENTS,
    direct: false,
    judged: true,
    measure: |settings, peer| pushed(settings, peer, Form::Sse),
};

pub(super) const WEBSOCKET: Scenario = Scenario {
    name: "websocket",
    title: "CPU per WebSocket push",
    how: "300 WebSockets with 20 text frames of 300 bytes a second each from the server, \
          spread as with SSE; origin, client and proxy on one core.",
    columns: EVENTS,
    direct: false,
    judged: true,
    measure: |settings, peer| pushed(settings, peer, Form::WebSocket),
};

pub(super) const JSON: Scenario = Scenario {
    name: "json",
    title: "CPU per small JSON request",
    how: "100 connections that stay open, 4,000 POSTs a second together, spread evenly, with \
          about 80 bytes of JSON each and 130 in the response; origin, client and proxy on one \
          core.",
    columns: &[
        Column { title: "CPU s per million requests", digits: 1, against: Some(Against::Relay) },
        Column { title: "requests/s", digits: 0, against: None },
    ],
    direct: false,
    judged: true,
    measure: requested,
};

const EVENTS: &[Column] = &[
    Column { title: "CPU s per million events", digits: 1, against: Some(Against::Relay) },
    Column { title: "events/s", digits: 0, against: None },
];

const STREAMS: usize = 300;
const RATE: f64 = 20.0;
const CONNECTIONS: usize = 100;
const REQUESTS: f64 = 4_000.0;

/// Until the proxy has grown to its work.
const SETTLE: Duration = Duration::from_millis(500);

fn pushed(settings: &Settings, peer: &dyn Peer, form: Form) -> anyhow::Result<Measured> {
    let core = Some(settings.core);
    let rate = RATE * settings.pace;
    let origin = Origin::start(Manner { rate, idle: None, core })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, core)?;
    let streams = Streams::open(streams::Plan {
        target: proxy.address,
        form,
        kind: "paced",
        count: STREAMS,
        reads: true,
        again: true,
        core,
    })?;
    let seen = &streams.seen;
    let measured = window(settings, &proxy, &seen.events, STREAMS as f64 * rate)?;
    let failed = seen.failed.load(Ordering::Relaxed);
    anyhow::ensure!(failed == 0, "{failed} streams failed");
    Ok(measured)
}

fn requested(settings: &Settings, peer: &dyn Peer) -> anyhow::Result<Measured> {
    let core = Some(settings.core);
    let origin = Origin::start(Manner { rate: RATE, idle: None, core })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, core)?;
    let rate = REQUESTS * settings.pace;
    let plan = Plan::steady(proxy.address, Question::Json, CONNECTIONS, rate);
    let requests = Requests::start(Plan { core, ..plan });
    let seen = &requests.seen;
    let measured = window(settings, &proxy, &seen.answered, rate)?;
    let failed = seen.failed.load(Ordering::Relaxed);
    anyhow::ensure!(failed == 0, "{failed} requests failed");
    let connected = seen.connected.load(Ordering::Relaxed);
    let kept = connected <= 2 * CONNECTIONS as u64;
    anyhow::ensure!(kept, "{connected} connections were needed for {CONNECTIONS}");
    Ok(measured)
}

/// How far the pace of a window may be off. What was held up comes in bursts, and what comes in
/// bursts costs less.
const OFF_PACE: f64 = 0.03;

/// How often a window is tried in which others take too much of the core.
const TRIES: usize = 3;

/// CPU of the proxy in a while, for each thing counted in it, at so many a second.
fn window(
    settings: &Settings,
    proxy: &Running,
    count: &AtomicU64,
    pace: f64,
) -> anyhow::Result<Measured> {
    let mut measured = once(settings, proxy, count)?;
    for _ in 1..TRIES {
        if is_on_pace(&measured, pace) {
            break;
        }
        measured = once(settings, proxy, count)?;
    }
    let found = measured.values[1];
    anyhow::ensure!(is_on_pace(&measured, pace), "off pace: {found:.0}/s instead of {pace:.0}/s");
    Ok(measured)
}

fn is_on_pace(measured: &Measured, pace: f64) -> bool {
    (measured.values[1] / pace - 1.0).abs() <= OFF_PACE
}

fn once(settings: &Settings, proxy: &Running, count: &AtomicU64) -> anyhow::Result<Measured> {
    let pids = proxy.process.as_ref().map(|process| process.tree()).unwrap_or_default();
    sleep(SETTLE);
    let (window, before) = (Window::open(pids), count.load(Ordering::Relaxed));
    sleep(Duration::from_secs_f64(settings.seconds));
    let (used, after) = (window.close(), count.load(Ordering::Relaxed));
    let counted = (after - before) as f64;
    anyhow::ensure!(counted > 0.0, "nothing arrives");
    let each = used.proxy as f64 / 1e3 / counted;
    Ok(Measured { values: vec![each, counted / used.seconds], others: used.others })
}
