//! Three model servers under a load of streams; one after the other fails in its own way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Client, Peer, Proxy, until, until_within};

/// Streams that are kept open.
const LOAD: usize = 18;

/// As one would write it: what has not begun may be tried elsewhere, whatever went wrong.
const ROUTE: &str = "timeouts = { connect = \"500ms\", first_byte = \"2s\", idle = \"2s\" }\n\
    retry = { idempotent_only = false, budget_percent = 100, \
    on = [\"connect_error\", \"not_delivered\", \"reset\", \"first_byte_timeout\", \"503\"] }";
const UPSTREAM: &str = "health.passive = { failures = 2, eject_for = \"1s\" }";

const PATIENCE: Duration = Duration::from_secs(30);

/// What a healthy path needs at most to carry what was written.
const IN_FLIGHT: Duration = Duration::from_millis(200);

/// What a client saw of one stream.
#[derive(Debug, Clone)]
struct Seen {
    /// 0 if there was no answer at all.
    status: u16,
    /// The server whose name was in its events; empty if there was none.
    server: String,
    tokens: usize,
    /// It ended with `data: [DONE]` and a clean end.
    whole: bool,
    began: Instant,
    /// When its first event came.
    content: Option<Instant>,
    over: Instant,
}

/// Clients that ask for one stream after the other.
struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Streams that have begun to receive content, by number, and from whom.
    open: Arc<Mutex<BTreeMap<u64, String>>>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(proxy: SocketAddr) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (open, numbers) = (Arc::default(), Arc::new(AtomicU64::new(1)));
        let mut clients = JoinSet::new();
        for _ in 0..LOAD {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            let (open, numbers) = (Arc::clone(&open), Arc::clone(&numbers));
            clients.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let number = numbers.fetch_add(1, Ordering::SeqCst);
                    let one = stream(proxy, number, &open).await;
                    open.lock().unwrap().remove(&number);
                    seen.lock().unwrap().push(one);
                }
            });
        }
        Self { stop, seen, open, clients }
    }

    /// Lets the streams end and gives what all clients saw.
    async fn end(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        Arc::into_inner(self.seen).unwrap().into_inner().unwrap()
    }

    /// Waits until that server streams to somebody.
    async fn is_served_by(&self, server: &str) {
        self.has(&format!("{server} has streams"), server, |count| count >= 2).await;
    }

    /// Waits until the number of streams with content from that server is as it should be.
    async fn has(&self, what: &str, server: &str, fits: fn(usize) -> bool) {
        until_within(PATIENCE, what, || async {
            let open = self.open.lock().unwrap();
            fits(open.values().filter(|from| *from == server).count())
        })
        .await;
    }

    /// Waits until so many more streams have ended that every client has begun anew.
    async fn goes_on(&self) {
        let count = self.seen.lock().unwrap().len();
        until_within(PATIENCE, "all go on", || async {
            self.seen.lock().unwrap().len() >= count + 2 * LOAD
        })
        .await;
    }
}

async fn stream(proxy: SocketAddr, number: u64, open: &Mutex<BTreeMap<u64, String>>) -> Seen {
    let mut client = Client::connect(proxy).await;
    let body = "{\"stream\":true}";
    let began = Instant::now();
    client
        .send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let head = client.head().await;
    let status = head[9..12].parse().unwrap();
    let (mut text, mut tokens, mut server, mut clean) = (String::new(), 0, String::new(), false);
    let mut content = None;
    if status == 200 {
        while let Some(chunk) = client.chunk().await {
            if chunk.is_empty() {
                clean = true;
                break;
            }
            text += std::str::from_utf8(&chunk).unwrap();
            let events = text.lines().filter_map(|line| line.strip_prefix("data: {\"id\"")).count();
            if tokens == 0 && events > 0 {
                server = name_in(&text);
                content = Some(Instant::now());
                open.lock().unwrap().insert(number, server.clone());
            }
            tokens = events;
        }
    }
    let whole = clean && text.ends_with("data: [DONE]\n\n");
    assert!(!text.contains("[DONE]") || whole, "an end mark, and then no end: {text}");
    Seen { status, server, tokens, whole, began, content, over: Instant::now() }
}

/// The name in the first event.
fn name_in(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(line).unwrap();
    event["model"].as_str().unwrap().to_owned()
}

/// A model server of that name; its streams take 2 s.
async fn model(name: &str, port: u16) -> Peer {
    let port = port.to_string();
    let options = ["--tokens", "40", "--gap-ms", "50", "--think-ms", "100", "--port", &port];
    Peer::serve(&[&["node", "model-server/server.mjs", "--name", name][..], &options].concat())
        .await
}

async fn models() -> Vec<Peer> {
    vec![model("a", 0).await, model("b", 0).await, model("c", 0).await]
}

async fn proxy(models: &[Peer]) -> Proxy {
    let addresses: Vec<_> = models.iter().map(|model| model.address).collect();
    Proxy::to_all(&addresses).upstream(UPSTREAM).route(ROUTE).start().await
}

/// How a server fails.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Killed,
    Stopped,
    Answers503,
    Refuses,
}

/// A failure that ends streams: which server, just before and just after it.
type Cut = (&'static str, Instant, Instant);

impl Fate {
    async fn befalls(self, name: &'static str, server: &mut Peer) -> Option<Cut> {
        let before = Instant::now();
        match self {
            Self::Killed => server.kill().await,
            Self::Stopped => server.signal("STOP"),
            Self::Answers503 => server.tell("answer 503").await,
            Self::Refuses => server.tell("refuse").await,
        }
        let cuts = matches!(self, Self::Killed | Self::Stopped);
        cuts.then_some((name, before, Instant::now()))
    }
}

/// Under load, that befalls server b; returns how many streams were cut.
async fn under_load(fate: Fate) -> usize {
    let mut models = models().await;
    let proxy = proxy(&models).await;
    let load = Load::start(proxy.address);
    load.is_served_by("b").await;
    let cut = fate.befalls("b", &mut models[1]).await;
    let b = format!("endpoint=\"{}\"", models[1].address);
    let ejections = ["longwire_upstream_ejections_total{", &b];
    until("b is ejected", || async { proxy.metric(&ejections).await >= 1.0 }).await;
    load.goes_on().await;
    let seen = load.end().await;
    let cuts: Vec<Cut> = cut.into_iter().collect();
    verdict(&seen, &proxy, &cuts)
}

/// Cut are exactly the streams that had content from a server when its failure cut them; all
/// others are whole, and nobody got an error. Returns how many were cut.
fn verdict(seen: &[Seen], proxy: &Proxy, cuts: &[Cut]) -> usize {
    let mut statuses = BTreeMap::new();
    for one in seen {
        *statuses.entry(one.status).or_insert(0) += 1;
    }
    let broken: Vec<_> = seen.iter().filter(|one| !one.whole).collect();
    let repeated = proxy.log("end").iter().filter(|end| end["attempts"] != 1).count();
    let slowest = seen.iter().map(|one| one.over - one.began).max().unwrap();
    println!(
        "{} streams, statuses {statuses:?}, {} cut, {repeated} tried more than once, the slowest \
         took {slowest:?}",
        seen.len(),
        broken.len()
    );
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&200], "errors for clients: {statuses:?}");
    for one in &broken {
        let was_there = |(name, before, after): &&Cut| {
            one.server == *name
                && one.content.is_some_and(|content| content < *after + IN_FLIGHT)
                && one.over > *before
        };
        assert!(cuts.iter().any(|cut| was_there(&cut)), "cut without a reason: {one:?}");
    }
    for one in seen.iter().filter(|one| one.whole) {
        assert_eq!(one.tokens, 40, "all its tokens, once: {one:?}");
        let survived = |(name, before, after): &&Cut| {
            one.server == *name
                && one.content.is_some_and(|content| content < *before)
                && one.over > *after + IN_FLIGHT
        };
        assert!(!cuts.iter().any(|cut| survived(&cut)), "whole without its server: {one:?}");
    }
    assert!(slowest < Duration::from_secs(9), "{slowest:?} for a stream of 2 s");
    broken.len()
}

#[tokio::test]
async fn a_killed_server_costs_only_the_streams_that_it_had_begun() {
    assert!(under_load(Fate::Killed).await > 0, "there were some");
}

#[tokio::test]
async fn a_stopped_server_costs_only_the_streams_that_it_had_begun() {
    assert!(under_load(Fate::Stopped).await > 0, "there were some");
}

#[tokio::test]
async fn a_server_that_answers_503_costs_no_stream() {
    assert_eq!(under_load(Fate::Answers503).await, 0);
}

#[tokio::test]
async fn a_server_that_refuses_costs_no_stream() {
    assert_eq!(under_load(Fate::Refuses).await, 0);
}

#[tokio::test]
async fn a_server_that_is_well_again_gets_streams_again() {
    let mut models = models().await;
    let proxy = proxy(&models).await;
    let load = Load::start(proxy.address);
    load.is_served_by("b").await;
    models[1].tell("answer 503").await;
    let b = format!("endpoint=\"{}\"", models[1].address);
    let up = ["longwire_upstream_endpoint_up{", &b];
    until("b is ejected", || async { proxy.metric(&up).await == 0.0 }).await;
    load.has("b has none left", "b", |count| count == 0).await;
    models[1].tell("answer 200").await;
    load.is_served_by("b").await;
    until("b is up", || async { proxy.metric(&up).await == 1.0 }).await;
    verdict(&load.end().await, &proxy, &[]);
}

#[tokio::test]
#[ignore = "takes two minutes: make soak"]
async fn in_turn_each_failure_of_each_server_costs_only_what_had_begun() {
    let mut models = models().await;
    let proxy = proxy(&models).await;
    let load = Load::start(proxy.address);
    let mut cuts = Vec::new();
    for (which, name) in ["a", "b", "c", "a", "b", "c"].into_iter().enumerate() {
        let server = &mut models[which % 3];
        for fate in [Fate::Answers503, Fate::Refuses, Fate::Stopped, Fate::Killed] {
            load.is_served_by(name).await;
            cuts.extend(fate.befalls(name, server).await);
            load.goes_on().await;
            match fate {
                Fate::Answers503 => server.tell("answer 200").await,
                Fate::Refuses => server.tell("listen").await,
                Fate::Stopped => server.signal("CONT"),
                Fate::Killed => *server = model(name, server.address.port()).await,
            }
        }
    }
    verdict(&load.end().await, &proxy, &cuts);
}
