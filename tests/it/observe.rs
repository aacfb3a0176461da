use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longwire::telemetry::buckets;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use crate::harness::{Client, Peer, Proxy, Upstream, soon, until};
use crate::websocket::{AGREE, ASK, CLOSE, TEXT, Ws, bye, millis};

// === Prometheus ===

/// A Prometheus that scrapes one address every second.
struct Prometheus {
    address: SocketAddr,
    _child: tokio::process::Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    async fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs: [{{ job_name: longwire, static_configs: [{{ targets: [\"{target}\"] }}] }}]"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let place = |name| format!("{}/{name}", folder.path().to_str().unwrap());
        let mut child = Peer::program(&["prometheus", "--web.listen-address", "127.0.0.1:0"])
            .args(["--config.file", &place("prometheus.yml")])
            .args(["--storage.tsdb.path", &place("data")])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listens = async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, address)) = line.split_once("\"Listening on\" address=") {
                    return address.trim().parse().unwrap();
                }
                said += &format!("{line}\n");
            }
            panic!("prometheus has ended:\n{said}");
        };
        let address = soon("prometheus to listen", listens).await;
        // Or it would block when nobody reads what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        until("it is ready", || async {
            let mut client = Client::connect(address).await;
            client.send("GET /-/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            client.response().await.status == 200
        })
        .await;
        let prometheus = Self { address, _child: child, _folder: folder };
        until("it has scraped", || async { query(address, "sum(up)").await == Some(1.0) }).await;
        prometheus
    }

    /// The only value of an expression.
    async fn value(&self, expression: &str) -> f64 {
        let value = query(self.address, expression).await;
        value.unwrap_or_else(|| panic!("no value for {expression}"))
    }

    /// Waits until an expression has that value.
    async fn becomes(&self, expression: &str, expected: f64) {
        let mut last = None;
        let asking = async {
            while last != Some(expected) {
                tokio::time::sleep(millis(100)).await;
                last = query(self.address, expression).await;
            }
        };
        let result = tokio::time::timeout(Duration::from_secs(10), asking).await;
        assert!(result.is_ok(), "{expression} is {last:?}, the clients say {expected}");
    }
}

/// The answer to a question to the HTTP API: its `data`.
pub async fn get(address: SocketAddr, target: &str) -> Value {
    let mut client = Client::connect(address).await;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let response = client.response().await;
    let mut answer: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(answer["status"], "success", "{target}: {answer}");
    answer["data"].take()
}

/// The only value of an expression, now, if it has one.
pub async fn query(address: SocketAddr, expression: &str) -> Option<f64> {
    let expression = utf8_percent_encode(expression, NON_ALPHANUMERIC);
    let data = get(address, &format!("/api/v1/query?query={expression}")).await;
    let result = data["result"].as_array().unwrap();
    assert!(result.len() <= 1, "{result:?}");
    result.first()?["value"][1].as_str().unwrap().parse().ok()
}

// === The upstream ===

/// Pauses before the first byte: seven streams in ten are quick.
fn first_pause(number: usize) -> Duration {
    millis(if number % 10 < 7 { 170 } else { 600 })
}

/// Pauses between events. Each is in the middle of a bucket.
const PAUSES: [u64; 10] = [35, 125, 35, 35, 350, 35, 125, 35, 125, 35];

const EVENTS_EACH: usize = 11;

/// `/sse/3`, `/ndjson/3` and WebSockets after the same plan; `/plain/3` with a length.
async fn upstream() -> Upstream {
    Upstream::serve(|mut upstream| async move {
        while let Some(request) = upstream.try_request().await {
            let path = request.split(' ').nth(1).unwrap();
            let (kind, number) = path[1..].split_once('/').unwrap_or_else(|| (&path[1..], "0"));
            let number: usize = number.parse().unwrap();
            if kind == "ws" {
                upstream.write(AGREE).await;
                return talk(Ws::of(upstream), number).await;
            }
            if kind == "plain" {
                let body = "x".repeat(100 * (number + 1));
                let length = body.len();
                upstream
                    .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"))
                    .await;
                continue;
            }
            let media = if kind == "ndjson" { "application/x-ndjson" } else { "text/event-stream" };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            upstream.write(head).await;
            if kind == "long" {
                let chunk = b"9\r\ndata: a\n\n\r\n";
                while tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, chunk).await.is_ok()
                {
                    tokio::time::sleep(millis(50)).await;
                }
                return;
            }
            tokio::time::sleep(first_pause(number)).await;
            for event in 0..EVENTS_EACH {
                if event > 0 {
                    tokio::time::sleep(millis(PAUSES[event - 1])).await;
                }
                let line =
                    if kind == "ndjson" { "{}\n".into() } else { format!("data: {event}\n\n") };
                upstream.chunk(line).await;
            }
            upstream.last_chunk().await;
        }
    })
    .await
}

async fn talk(mut socket: Ws, number: usize) {
    tokio::time::sleep(first_pause(number)).await;
    for event in 0..EVENTS_EACH {
        if event > 0 {
            tokio::time::sleep(millis(PAUSES[event - 1])).await;
        }
        socket.send(TEXT, "x".repeat(10 * (event + 1))).await;
    }
    // What the client has sent, and its close frame, which is given back.
    socket.echo().await;
}

// === Clients that measure ===

/// What clients of one kind have measured.
#[derive(Default)]
struct Measured {
    streams: u64,
    events: u64,
    events_sent: u64,
    bytes: u64,
    bytes_sent: u64,
    first: Vec<f64>,
    gaps: Vec<f64>,
}

type Sink = Arc<Mutex<Measured>>;

/// Times of one stream.
struct Watch {
    asked: Instant,
    last: Option<Instant>,
}

impl Watch {
    fn new() -> Self {
        Self { asked: Instant::now(), last: None }
    }

    /// Something came.
    fn event(&mut self, sink: &Sink) {
        let now = Instant::now();
        let mut measured = sink.lock().unwrap();
        match self.last.replace(now) {
            None => measured.first.push((now - self.asked).as_secs_f64()),
            Some(last) => measured.gaps.push((now - last).as_secs_f64()),
        }
        measured.events += 1;
    }
}

async fn stream(proxy: SocketAddr, kind: &str, number: usize, sink: Sink) {
    let mut client = Client::connect(proxy).await;
    let mut watch = Watch::new();
    client.post(&format!("/{kind}/{number}"), b"hello").await;
    client.head().await;
    loop {
        let chunk = client.chunk().await.expect("the whole body");
        if chunk.is_empty() {
            break;
        }
        // The upstream's pauses are longer than it takes to pass one on.
        watch.event(&sink);
        sink.lock().unwrap().bytes += chunk.len() as u64;
    }
    let mut measured = sink.lock().unwrap();
    measured.streams += 1;
    measured.bytes_sent += 5;
}

async fn socket(proxy: SocketAddr, number: usize, sink: Sink) {
    let ask = ASK.replace("/chat", &format!("/ws/{number}"));
    let mut watch = Watch::new();
    let mut socket = Ws::ask(Client::connect(proxy).await, &ask).await;
    let (mut bytes, mut sent) = (0, 0);
    for _ in 0..EVENTS_EACH {
        let frame = socket.frame().await;
        watch.event(&sink);
        bytes += 2 + frame.payload.len();
    }
    socket.send(TEXT, "hello").await;
    sent += 2 + 4 + 5;
    socket.gets("hello").await;
    watch.event(&sink);
    bytes += 2 + 5;
    socket.send(CLOSE, bye(1000, "")).await;
    sent += 2 + 4 + 2;
    assert_eq!(socket.gets_close().await.0, 1000);
    bytes += 2 + 2;
    socket.shut_down().await;
    let mut measured = sink.lock().unwrap();
    measured.streams += 1;
    measured.events_sent += 1;
    measured.bytes += bytes as u64;
    measured.bytes_sent += sent as u64;
}

async fn plain(proxy: SocketAddr, number: usize, sink: Sink) {
    let mut client = Client::connect(proxy).await;
    for number in number..number + 5 {
        client.get(&format!("/plain/{number}")).await;
        let body = client.response().await.body.len() as u64;
        let mut measured = sink.lock().unwrap();
        measured.streams += 1;
        measured.bytes += body;
    }
    tokio::time::sleep(millis(200)).await;
}

/// An endless stream on a route of its own: counts events until it is dropped.
async fn long(proxy: SocketAddr, sink: Sink) {
    let mut client = Client::connect(proxy).await;
    let mut watch = Watch::new();
    client.get("/long").await;
    client.head().await;
    while client.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {
        watch.event(&sink);
    }
}

// === The proof ===

const SCENES: [(&str, &str, usize); 4] =
    [("sse", "sse", 8), ("ndjson", "stream", 4), ("ws", "websocket", 6), ("plain", "http", 3)];

const LONG_STREAMS: usize = 3;

const LEAVERS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_knows_what_clients_measure() {
    agree(Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes: make soak"]
async fn prometheus_knows_what_clients_measure_for_two_minutes() {
    agree(Duration::from_secs(120)).await;
}

async fn agree(run: Duration) {
    let upstream = upstream().await;
    let tables = "[routes.long]\npaths = [\"/long\"]\nupstream = \"up\"";
    let proxy = Proxy::to(upstream.address).tables(tables).start().await;
    let prometheus = Prometheus::scraping(proxy.admin).await;
    let address = proxy.address;
    let began = Instant::now();

    let endless = Sink::default();
    let mut held = JoinSet::new();
    for _ in 0..LONG_STREAMS {
        held.spawn(long(address, Arc::clone(&endless)));
    }
    let mut workers = JoinSet::new();
    let sinks: Vec<Sink> = SCENES.iter().map(|_| Sink::default()).collect();
    for ((name, _, at_once), sink) in SCENES.iter().zip(&sinks) {
        for worker in 0..*at_once {
            let sink = Arc::clone(sink);
            workers.spawn(async move {
                let mut number = worker;
                while began.elapsed() < run {
                    let sink = Arc::clone(&sink);
                    match *name {
                        "ws" => socket(address, number, sink).await,
                        "plain" => plain(address, number, sink).await,
                        _ => stream(address, name, number, sink).await,
                    }
                    number += at_once;
                }
            });
        }
    }
    for _ in 0..LEAVERS {
        let mut client = proxy.client().await;
        client.get("/long").await;
        client.head().await;
        client.text().await;
    }

    // Counters move while streams flow: a rate over the last ten seconds.
    let events = || endless.lock().unwrap().events;
    tokio::time::sleep(run - Duration::from_secs(10)).await;
    let (before, from) = (events(), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let measured = (events() - before) as f64 / from.elapsed().as_secs_f64();
    let rate = "sum(rate(longwire_events_total{route=\"long\"}[10s]))";
    let rate = prometheus.value(rate).await;
    assert!((rate / measured - 1.0).abs() < 0.2, "{rate} events a second; clients: {measured}");

    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let window = format!("{}s", run.as_secs() + 5);
    for ((_, kind, _), sink) in SCENES.iter().zip(&sinks) {
        let measured = std::mem::take(&mut *sink.lock().unwrap());
        assert!(measured.streams >= 10, "{kind}: {}", measured.streams);
        counts_agree(&prometheus, kind, &measured).await;
        if *kind != "http" {
            let first = ("longwire_time_to_first_byte_seconds", buckets::FIRST_BYTE);
            quantiles_agree(&prometheus, kind, first, &window, measured.first).await;
        }
        if matches!(*kind, "sse" | "websocket") {
            let gaps = ("longwire_inter_event_seconds", buckets::INTER_EVENT);
            quantiles_agree(&prometheus, kind, gaps, &window, measured.gaps).await;
        }
    }

    // What is open is active; who left is closed.
    let of =
        |name: &str, more: &str| format!("sum(longwire_streams_{name}{{route=\"long\"{more}}})");
    prometheus.becomes(&of("opened_total", ""), (LONG_STREAMS + LEAVERS) as f64).await;
    prometheus.becomes(&of("active", ""), LONG_STREAMS as f64).await;
    prometheus.becomes(&of("closed_total", ",reason=\"client_closed\""), LEAVERS as f64).await;
    prometheus.becomes(&of("closed_total", ""), LEAVERS as f64).await;

    // At every scrape: what was opened is closed or active. A page is not taken at one instant, and
    // on a busy machine streams come and go while it is.
    let balance = "sum(longwire_streams_opened_total) - sum(longwire_streams_closed_total) \
                   - sum(longwire_streams_active)";
    assert_eq!(prometheus.value(balance).await, 0.0);
    let worst = format!("max_over_time(abs({balance})[{window}:1s])");
    let worst = prometheus.value(&worst).await;
    assert!(worst <= 10.0, "{worst} streams were neither closed nor active");
    assert_eq!(prometheus.value(&format!("min_over_time(up[{window}])")).await, 1.0);
    let scrapes = prometheus.value(&format!("count_over_time(up[{window}])")).await;
    assert!(scrapes >= run.as_secs_f64() * 0.9, "{scrapes} scrapes in {run:?}");
    held.abort_all();
}

async fn counts_agree(prometheus: &Prometheus, kind: &str, measured: &Measured) {
    let of = |name: &str, more: &str| {
        format!("sum(longwire_{name}{{route=\"all\",kind=\"{kind}\"{more}}})")
    };
    let streams = measured.streams;
    let mut expected = vec![
        (of("streams_opened_total", ""), streams),
        (of("streams_closed_total", ""), streams),
        (of("streams_closed_total", ",reason=\"completed\""), streams),
        (of("streams_active", ""), 0),
        (of("requests_total", ""), streams),
        (of("bytes_total", ",direction=\"out\""), measured.bytes),
        (of("bytes_total", ",direction=\"in\""), measured.bytes_sent),
        (of("stream_size_bytes_sum", ",direction=\"out\""), measured.bytes),
        (of("stream_duration_seconds_count", ""), streams),
        (of("time_to_first_byte_seconds_count", ""), streams),
    ];
    if matches!(kind, "sse" | "websocket") {
        expected.push((of("events_total", ",direction=\"out\""), measured.events));
        expected.push((of("stream_events_sum", ""), measured.events));
        expected.push((of("inter_event_seconds_count", ""), measured.gaps.len() as u64));
    }
    if kind == "websocket" {
        expected.push((of("events_total", ",direction=\"in\""), measured.events_sent));
    }
    for (expression, value) in expected {
        prometheus.becomes(&expression, value as f64).await;
    }
}

/// Prometheus' quantiles are in the bucket of those that were measured, give or take a fifth: since
/// the start, and as a rate, which is how they are used.
async fn quantiles_agree(
    prometheus: &Prometheus,
    kind: &str,
    (name, bounds): (&str, &[f64]),
    window: &str,
    mut measured: Vec<f64>,
) {
    measured.sort_by(f64::total_cmp);
    for quantile in [0.5, 0.8, 0.95] {
        let ours = measured[((measured.len() - 1) as f64 * quantile).round() as usize];
        let above = bounds.iter().position(|&bound| ours <= bound).unwrap();
        let low = above.checked_sub(1).map_or(0.0, |below| bounds[below]);
        let (low, high) = (low * 0.8, bounds[above] * 1.2);
        let series = format!("{name}_bucket{{route=\"all\",kind=\"{kind}\"}}");
        for series in [series.clone(), format!("rate({series}[{window}])")] {
            let expression = format!("histogram_quantile({quantile}, sum by (le) ({series}))");
            let theirs = prometheus.value(&expression).await;
            assert!(
                (low..=high).contains(&theirs),
                "{expression} is {theirs}; the clients measured {ours}"
            );
        }
    }
}
