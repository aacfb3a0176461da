//! The keep-alive race: the upstream closes an idle connection just as it is used again.
//!
//! Clients send together in waves, one pool of the proxy for each group of them, so that every
//! connection of a pool has been idle for the same time when the next wave takes it. Every other
//! wave sweeps over 120 ms around the server's own time (measured first); the share of connections
//! that were still open says where the edge is, which the waves between aim at. An idle client sees
//! its connection closed later than that: a server that sleeps wakes late, but a request wakes it.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Client, Peer, Proxy, find, soon, until};

const UVICORN: &[&str] = &["python", "keep-alive-race/uvicorn-server.py"];
const NODE: &[&str] = &["node", "keep-alive-race/node-server.mjs"];
/// Node adds a second of its own: its connections live for 1.1 s.
const HASTY_NODE: &[&str] = &["node", "keep-alive-race/node-server.mjs", "--keep-alive-ms", "100"];

const SMALL: usize = 100;
const KEPT: usize = 200 << 10;
/// More than `replay_body`.
const NOT_KEPT: usize = 2 << 20;

/// From when to when, in µs from the server's own time.
const SWEEP: Range<i64> = -90_000..30_000;
/// How far to both sides of the edge a wave goes that aims at it, in µs.
const AIM: i64 = 2_000;

/// What is sent.
#[derive(Clone, Copy)]
struct Plan {
    /// Groups of clients, each with an upstream, and so a pool, of its own.
    groups: usize,
    /// Clients in a group.
    members: usize,
    /// Waves of a group that meet the race; one before them opens the connections.
    waves: usize,
    /// Body lengths in bytes, by turns from group to group.
    bodies: &'static [usize],
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    /// Requests that met the race.
    raced: usize,
    /// Those of them whose connection was one that the server had answered on before.
    reused: usize,
    /// Answers that were not 200, by status and error type; status 0 if there was none.
    errors: BTreeMap<(u16, String), u64>,
    /// `upstream_retries_total` for what was proved not to be delivered.
    replays: f64,
}

/// Runs the plan against a server; every request must have been handled exactly once, unless its
/// client heard of an error.
async fn race(server: &[&str], plan: Plan) -> Outcome {
    let server = Peer::serve(server).await;
    let aim = closes_after(server.address).await;
    let proxy = proxy(server.address, plan.groups, "pool = { learn = false, max_idle = 1000 }");
    let proxy = proxy.await;
    let shared = Arc::new(Shared { aim, ..Shared::default() });
    let mut running = JoinSet::new();
    for group in 0..plan.groups {
        let offset = aim.mul_f64(group as f64 / plan.groups as f64);
        let shared = Arc::clone(&shared);
        let body = plan.bodies[group % plan.bodies.len()];
        let group = Group::open(&proxy, group, plan.members, body).await;
        running.spawn(group.run(offset, plan.waves, shared));
    }
    let mut outcome = Outcome::default();
    while let Some(group) = running.join_next().await {
        let group = group.unwrap();
        outcome.raced += group.raced;
        outcome.reused += group.reused;
        for (error, count) in group.errors {
            *outcome.errors.entry(error).or_default() += count;
        }
    }
    outcome.replays = replays(&proxy).await;
    let counts = counts(server.address).await;
    let asked = shared.numbers.load(Ordering::SeqCst);
    let edge = shared.edge();
    println!("{plan:?} after {aim:?} {edge:+} µs: {outcome:?}, the server counted {counts}");
    assert_eq!(counts["twice"], Value::Array(Vec::new()), "handled twice: {counts}");
    let handled = counts["numbers"].as_u64().unwrap();
    let failed = outcome.errors.values().sum::<u64>();
    assert!(handled <= asked && handled + failed >= asked, "{asked} sent, {failed} failed");
    assert!(outcome.reused > 0 && outcome.reused < outcome.raced, "both sides of the edge");
    outcome
}

/// Whoever got no answer was told so.
fn is_honest(outcome: &Outcome) {
    let told = |(status, error): &(u16, String)| *status == 502 && error == "upstream_reset";
    assert!(outcome.errors.keys().all(told), "{:?}", outcome.errors);
}

/// Nobody notices anything, and something must have happened.
async fn nobody_notices(server: &[&str], plan: Plan) {
    let outcome = race(server, plan).await;
    assert_eq!(outcome.errors, BTreeMap::new(), "errors among {} requests", outcome.raced);
    assert!(outcome.replays > 0.0, "no connection was lost: this proved nothing");
}

/// The same for a machine that has other things to do: a server so starved that it closes with a
/// request unread in its socket cannot be told from one that read it, and its client is told so.
async fn hardly_anybody_notices(server: &[&str], plan: Plan) {
    let outcome = race(server, plan).await;
    is_honest(&outcome);
    let told = outcome.errors.values().sum::<u64>();
    assert!(told * 100 <= outcome.raced as u64, "{told} of {} were lost", outcome.raced);
    assert!(outcome.replays > 4.0 * told as f64, "{} replays", outcome.replays);
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { groups, members, waves, bodies } = self;
        write!(f, "{groups} groups of {members}, {waves} waves, bodies of {bodies:?}")
    }
}

/// What the groups have in common.
#[derive(Default)]
struct Shared {
    /// How long the server lets a connection idle.
    aim: Duration,
    /// Connections that sweeps took, and how many of them were still open.
    swept: AtomicI64,
    open: AtomicI64,
    /// Numbers given to requests so far.
    numbers: AtomicU64,
}

impl Shared {
    /// How long the wave of that number is to let its connections idle.
    fn idle(&self, group: usize, wave: usize) -> Duration {
        // Anywhere in between, evenly: multiples of a prime.
        let step = (group * 7919 + wave * 104_729) as i64;
        let offset = match is_sweep(wave) {
            true => SWEEP.start + step % (SWEEP.end - SWEEP.start),
            false => self.edge() + step % (2 * AIM) - AIM,
        };
        let aim = i64::try_from(self.aim.as_micros()).unwrap();
        Duration::from_micros((aim + offset).try_into().unwrap())
    }

    /// Where the edge is, in µs from the aim.
    fn edge(&self) -> i64 {
        let swept = self.swept.load(Ordering::SeqCst).max(1);
        SWEEP.start + (SWEEP.end - SWEEP.start) * self.open.load(Ordering::SeqCst) / swept
    }

    fn found(&self, open: usize, of: usize) {
        self.open.fetch_add(i64::try_from(open).unwrap(), Ordering::SeqCst);
        self.swept.fetch_add(i64::try_from(of).unwrap(), Ordering::SeqCst);
    }
}

fn is_sweep(wave: usize) -> bool {
    wave.is_multiple_of(2)
}

/// Clients of one pool, which send together.
struct Group {
    number: usize,
    address: SocketAddr,
    members: Vec<TcpStream>,
    body: Arc<Vec<u8>>,
    /// The proxy's ends of the connections that the last wave was answered on.
    ports: HashSet<u64>,
    outcome: Outcome,
}

impl Group {
    async fn open(proxy: &Proxy, number: usize, members: usize, body: usize) -> Self {
        let address = proxy.address;
        let mut streams = Vec::new();
        for _ in 0..members {
            streams.push(connect(address).await);
        }
        let body = Arc::new(vec![b'x'; body]);
        let (ports, outcome) = (HashSet::new(), Outcome::default());
        Self { number, address, members: streams, body, ports, outcome }
    }

    async fn run(mut self, offset: Duration, waves: usize, shared: Arc<Shared>) -> Outcome {
        tokio::time::sleep(offset).await;
        self.wave(&shared).await;
        for wave in 0..waves {
            tokio::time::sleep(shared.idle(self.number, wave)).await;
            let before = self.outcome.reused;
            let reused = self.wave(&shared).await;
            self.outcome.raced += self.members.len();
            self.outcome.reused = before + reused;
            if is_sweep(wave) {
                shared.found(reused, self.members.len());
            }
        }
        self.outcome
    }

    /// All members send, all are answered; how many on connections of the wave before.
    async fn wave(&mut self, shared: &Shared) -> usize {
        let mut running = JoinSet::new();
        for mut stream in self.members.drain(..) {
            let number = shared.numbers.fetch_add(1, Ordering::SeqCst);
            let (path, body) = (format!("/{}/", self.number), Arc::clone(&self.body));
            running.spawn(async move {
                let answer = post(&mut stream, &path, number, &body).await;
                (stream, answer)
            });
        }
        let mut ports = HashSet::new();
        let mut reused = 0;
        while let Some(done) = running.join_next().await {
            let (mut stream, answer) = done.unwrap();
            let (status, facts) = answer.unwrap_or_else(|error| (0, error.to_string().into()));
            if let Some(port) = facts["port"].as_u64() {
                reused += usize::from(self.ports.contains(&port));
                ports.insert(port);
            }
            if status != 200 {
                let error = facts["error"]["type"].as_str().map(ToOwned::to_owned);
                let error = (status, error.unwrap_or_else(|| facts.to_string()));
                *self.outcome.errors.entry(error).or_default() += 1;
                stream = connect(self.address).await;
            }
            self.members.push(stream);
        }
        self.ports = ports;
        reused
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    Client::connect(address).await.stream
}

/// One POST on a connection that stays open: status and JSON body of its answer.
async fn post(
    stream: &mut TcpStream,
    path: &str,
    number: u64,
    body: &[u8],
) -> io::Result<(u16, Value)> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\nContent-Length: {length}\r\n\r\n"
    );
    let request = [head.as_bytes(), body].concat();
    let (mut from, mut to) = stream.split();
    // An answer may come before the body has gone out, and then nobody takes the rest.
    let sending = async { to.write_all(&request).await };
    let reading = async {
        let mut inbox = Vec::new();
        loop {
            if let Some(answer) = whole(&inbox) {
                return Ok(answer);
            }
            if from.read_buf(&mut inbox).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    let both = async {
        tokio::pin!(sending, reading);
        tokio::select! {
            answer = &mut reading => answer,
            sent = &mut sending => match sent {
                Ok(()) => reading.await,
                Err(error) => reading.await.map_err(|_| error),
            },
        }
    };
    soon("an answer", both).await
}

/// The response that these bytes are, once they are all there; it has a length.
fn whole(bytes: &[u8]) -> Option<(u16, Value)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
    let (_, rest) = head.split_once("content-length: ").unwrap();
    let length: usize = rest.lines().next().unwrap().parse().unwrap();
    let body = bytes.get(end..end + length)?;
    let body = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {head}"));
    Some((head[9..12].parse().unwrap(), body))
}

/// A proxy with that many upstreams at one address, `/N/` for the N-th.
async fn proxy(server: SocketAddr, groups: usize, rules: &str) -> Proxy {
    let mut tables = String::new();
    for group in 0..groups {
        writeln!(
            tables,
            "[upstreams.g{group}]\nendpoints = [\"http://{server}\"]\n{rules}\n\
             [routes.g{group}]\npaths = [\"/{group}/\"]\nupstream = \"g{group}\""
        )
        .unwrap();
    }
    Proxy::to(server).tables(&tables).start().await
}

/// How long the server lets a connection idle before it closes it: the middle of some.
async fn closes_after(server: SocketAddr) -> Duration {
    let mut asking = JoinSet::new();
    for _ in 0..9 {
        asking.spawn(async move {
            let mut client = Client::connect(server).await;
            client.get("/counts").await;
            client.response().await;
            let since = Instant::now();
            client.ends().await;
            since.elapsed()
        });
    }
    let mut found = asking.join_all().await;
    found.sort();
    found[found.len() / 2]
}

/// What the server itself has counted.
async fn counts(server: SocketAddr) -> Value {
    let mut client = Client::connect(server).await;
    client.get("/counts").await;
    serde_json::from_slice(&client.response().await.body).unwrap()
}

async fn replays(proxy: &Proxy) -> f64 {
    proxy.sum(&["longwire_upstream_retries_total{", "cause=\"not_delivered\""]).await
}

#[tokio::test]
async fn a_thousand_posts_into_the_race_with_uvicorn_are_replayed() {
    let plan = Plan { groups: 100, members: 5, waves: 2, bodies: &[SMALL, KEPT] };
    hardly_anybody_notices(UVICORN, plan).await;
}

#[tokio::test]
async fn two_thousand_posts_into_the_race_with_node_are_replayed() {
    let plan = Plan { groups: 50, members: 5, waves: 8, bodies: &[SMALL, KEPT] };
    hardly_anybody_notices(HASTY_NODE, plan).await;
}

#[tokio::test]
async fn a_body_that_was_not_kept_is_lost_with_an_error_or_delivered_once() {
    let plan = Plan { groups: 10, members: 4, waves: 6, bodies: &[NOT_KEPT] };
    let outcome = race(HASTY_NODE, plan).await;
    is_honest(&outcome);
}

#[tokio::test]
async fn what_was_learned_keeps_requests_out_of_the_race_with_node() {
    learned(HASTY_NODE, 6).await;
}

#[tokio::test]
#[ignore = "takes a minute: make soak"]
async fn what_was_learned_keeps_requests_out_of_the_race_with_uvicorn() {
    learned(UVICORN, 10).await;
}

#[tokio::test]
#[ignore = "takes two minutes: make soak"]
async fn ten_thousand_posts_into_the_race_with_uvicorn_are_each_handled_once() {
    let plan = Plan { groups: 100, members: 5, waves: 20, bodies: &[SMALL] };
    nobody_notices(UVICORN, plan).await;
}

#[tokio::test]
#[ignore = "takes two minutes: make soak"]
async fn ten_thousand_posts_into_the_race_with_node_are_each_handled_once() {
    let plan = Plan { groups: 100, members: 5, waves: 20, bodies: &[SMALL] };
    nobody_notices(NODE, plan).await;
}

#[tokio::test]
#[ignore = "takes two minutes: make soak"]
async fn ten_thousand_kept_bodies_into_the_race_are_each_handled_once() {
    let plan = Plan { groups: 100, members: 5, waves: 20, bodies: &[KEPT] };
    nobody_notices(UVICORN, plan).await;
}

#[tokio::test]
#[ignore = "takes two minutes: make soak"]
async fn a_thousand_bodies_that_were_not_kept_are_lost_with_an_error_or_delivered_once() {
    let plan = Plan { groups: 10, members: 5, waves: 20, bodies: &[NOT_KEPT] };
    let outcome = race(UVICORN, plan).await;
    is_honest(&outcome);
}

/// Lets the pool see its connections closed, then sends waves into what was the race.
async fn learned(server: &[&str], waves: usize) {
    let server = Peer::serve(server).await;
    let aim = closes_after(server.address).await;
    let proxy = proxy(server.address, 1, "pool = { learn = true, max_idle = 1000 }").await;
    let shared = Shared { aim, ..Shared::default() };
    let mut group = Group::open(&proxy, 0, 40, SMALL).await;
    for _ in 0..2 {
        group.wave(&shared).await;
        let closed = ["longwire_upstream_connections{", "upstream=\"g0\"", "state=\"idle\""];
        until("the server has closed them", || async { proxy.metric(&closed).await == 0.0 }).await;
    }
    let before = replays(&proxy).await;
    let gauge = ["longwire_upstream_learned_idle_seconds{", "upstream=\"g0\""];
    let learned = proxy.metric(&gauge).await;
    let off = (learned - aim.as_secs_f64()).abs();
    assert!(off < 0.05 + 0.05 * aim.as_secs_f64(), "it learned {learned} s, which is {aim:?}");
    for wave in 0..waves {
        group.wave(&shared).await;
        tokio::time::sleep(shared.idle(0, wave)).await;
    }
    group.wave(&shared).await;
    assert_eq!(group.outcome.errors, BTreeMap::new());
    assert_eq!(replays(&proxy).await, before, "the race was not met");
    assert_eq!(before, 0.0, "nothing was lost while it learned, either");
    let ours = ["longwire_upstream_pool_closed_total{", "\"g0\"", "reason=\"idle_timeout\""];
    assert!(proxy.metric(&ours).await > 0.0, "we close them first");
    let counts = counts(server.address).await;
    assert_eq!(counts["requests"], shared.numbers.load(Ordering::SeqCst), "{counts}");
    assert_eq!(counts["numbers"], counts["requests"], "{counts}");
}
