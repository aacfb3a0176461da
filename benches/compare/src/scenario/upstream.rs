//! What the upstream sees: how many connections, how soon a client's leaving, and how requests fare
//! when it closes idle connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use super::{Column, Measured, Scenario, Settings};
use crate::client::requests::{Plan, Question, Requests};
use crate::client::streams;
use crate::clock;
use crate::event::Form;
use crate::noise::Window;
use crate::origin::{Manner, Origin, Seen};
use crate::peers::{self, Peer, Running};
use crate::process::Process;
use crate::spread::quantile;

pub(super) const REUSE: Scenario = Scenario {
    name: "reuse",
    title: "Upstream connections for 10,000 requests",
    how: "10,000 POSTs from clients that open a connection for each, 2,000 a second.",
    columns: &[Column { title: "connections", digits: 0, against: None }],
    direct: false,
    judged: false,
    measure: reuse,
};

pub(super) const CANCEL: Scenario = Scenario {
    name: "cancel",
    title: "From a client's leaving to the upstream's hearing of it",
    how: "200 silent SSE streams, one after the other; the client closes its connection after \
          the first event. `missed` are those whose upstream connection was still open after a \
          second.",
    columns: &[
        Column { title: "p50, µs", digits: 0, against: None },
        Column { title: "p99, µs", digits: 0, against: None },
        Column { title: "missed", digits: 0, against: None },
    ],
    direct: true,
    judged: false,
    measure: cancel,
};

pub(super) const RACE: Scenario = Scenario {
    name: "race",
    title: "POSTs lost in the keep-alive race",
    how: "The origin closes connections that were idle for 100 ms. 10,000 POSTs over 100 \
          client connections in step, each about 100 ms after the one before: many meet the \
          closing. `direct` is a client that keeps such connections itself.",
    columns: &[
        Column { title: "failed of 10,000", digits: 0, against: None },
        Column { title: "upstream connections", digits: 0, against: None },
    ],
    direct: true,
    judged: false,
    measure: race,
};

const TOTAL: u64 = 10_000;

fn reuse(settings: &Settings, peer: &dyn Peer) -> anyhow::Result<Measured> {
    let origin = Origin::start(Manner { rate: 1.0, idle: None, core: None })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, None)?;
    let plan = Plan::steady(proxy.address, Question::Json, 50, 2_000.0);
    let (failed, connections, others) =
        all(Plan { fresh: true, total: TOTAL, ..plan }, &origin.seen, &proxy)?;
    anyhow::ensure!(failed == 0, "{failed} requests failed");
    Ok(Measured { values: vec![connections as f64], others })
}

fn race(settings: &Settings, peer: &dyn Peer) -> anyhow::Result<Measured> {
    let idle = Some(Duration::from_millis(100));
    let origin = Origin::start(Manner { rate: 1.0, idle, core: None })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, None)?;
    let plan = Plan {
        target: proxy.address,
        question: Question::Json,
        connections: 100,
        // What the origin waits, and about what an answer takes in such a crowd.
        period: Duration::from_millis(101),
        spread: Duration::from_millis(2),
        jitter: Duration::from_millis(4),
        fresh: false,
        total: TOTAL,
        core: None,
    };
    let (failed, connections, others) = all(plan, &origin.seen, &proxy)?;
    Ok(Measured { values: vec![failed as f64, connections as f64], others })
}

/// Sends all requests of a plan; how many failed, and how many connections the origin saw
/// meanwhile.
fn all(plan: Plan, origin: &Seen, proxy: &Running) -> anyhow::Result<(u64, u64, f64)> {
    let window = Window::open(proxy.process.as_ref().map(Process::tree).unwrap_or_default());
    let before = origin.accepted.load(Ordering::Relaxed);
    let total = plan.total;
    let requests = Requests::start(plan);
    let deadline = clock::now() + clock::ns(Duration::from_secs(40));
    while requests.seen.done() < total {
        let done = requests.seen.done();
        anyhow::ensure!(clock::now() < deadline, "only {done} of {total} requests have an end");
        sleep(Duration::from_millis(10));
    }
    let connections = origin.accepted.load(Ordering::Relaxed) - before;
    Ok((requests.seen.failed.load(Ordering::Relaxed), connections, window.close().others))
}

fn cancel(settings: &Settings, peer: &dyn Peer) -> anyhow::Result<Measured> {
    let origin = Origin::start(Manner { rate: 1.0, idle: None, core: None })?;
    let proxy = peers::start(&settings.scratch, peer, origin.address, None)?;
    let window = Window::open(proxy.process.as_ref().map(Process::tree).unwrap_or_default());
    let mut took = Vec::new();
    let mut missed = 0.0;
    for id in 0..200 {
        let left = leave(proxy.address, id)?;
        match ended(&origin.seen, id) {
            Some(at) => took.push(at.saturating_sub(left) as f64 / 1e3),
            None => missed += 1.0,
        }
        anyhow::ensure!(missed < 10.0, "the upstream does not hear of it");
    }
    Ok(Measured {
        values: vec![quantile(&mut took, 0.5), quantile(&mut took, 0.99), missed],
        others: window.close().others,
    })
}

/// Opens a stream, reads its first event and leaves; when that was.
fn leave(target: SocketAddr, id: u64) -> anyhow::Result<u64> {
    let mut socket = TcpStream::connect(target)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(streams::request(Form::Sse, &format!("idle/{id}")).as_bytes())?;
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    while !input.windows(2).any(|two| two == b"\n\n") {
        let length = socket.read(&mut buffer)?;
        anyhow::ensure!(length > 0, "a stream ended");
        input.extend_from_slice(&buffer[..length]);
    }
    // What is behind the event comes with it, or in a moment; unread, it would turn the end into a
    // reset.
    sleep(Duration::from_millis(2));
    socket.set_nonblocking(true)?;
    let _ = socket.read(&mut buffer);
    drop(socket);
    Ok(clock::now())
}

/// When a stream's connection ended at the origin, if that is within a second.
fn ended(origin: &Seen, id: u64) -> Option<u64> {
    let deadline = clock::now() + 1_000_000_000;
    while clock::now() < deadline {
        let ended = origin.ended.lock().ok()?.iter().find(|(ended, _)| *ended == id).copied();
        if let Some((_, at)) = ended {
            return Some(at);
        }
        sleep(Duration::from_micros(200));
    }
    None
}
