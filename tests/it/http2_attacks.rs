use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::harness::{Conversation, Peer, Proxy, SSE_HEAD, Upstream, resident_kib, soon};

/// They are dear, and their cost is measured: one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// Between two events of the stream that nobody may disturb.
const PACE: Duration = Duration::from_millis(50);
/// By which an event may be late: the attackers, the upstreams and a debug build share two cores.
const LATE_MS: u64 = 2000;
/// Events of 32 KiB of a `/big`: more than the proxy can hold of one stream. Without an end they would
/// fill what the kernel has for all connections of the machine.
const BIG_EVENTS: usize = 16;
/// Connections that one attack has, one after the other or all at once.
const CONNECTIONS: u64 = 5;

/// What an attack may cost at most, with a debug build.
struct Bounds {
    /// How its connections may end.
    ends: &'static [&'static str],
    /// How long one may last, in seconds.
    longest: f64,
    /// Processor time of the proxy, in seconds.
    cpu: f64,
    /// By which its memory may grow, in KiB, at the highest point.
    kib: u64,
    /// Requests that reach the upstream.
    requests: usize,
}

const CALM: &str = "GOAWAY ENHANCE_YOUR_CALM";
/// What the client still sends may overtake our last words.
const CUT: &[&str] = &[CALM, "closed", "reset"];
const WRONG: &[&str] = &["GOAWAY PROTOCOL_ERROR", "closed", "reset"];
/// It costs little, and goes on until the client has enough.
const BORNE: &[&str] = &["open"];
/// What is cut off at once, and reaches no upstream.
const CUT_OFF: Bounds =
    Bounds { ends: CUT, longest: 3.0, cpu: 1.0, kib: 8192, requests: CONNECTIONS as usize };

/// Runs an attack next to a stream of events, and prints what it cost.
async fn attack(name: &str, bounds: Bounds) -> Value {
    let _turn = TURN.lock().await;
    let events = Upstream::serve(tell_the_time).await;
    let victim = Upstream::serve(serve).await;
    let table = format!(
        "[routes.events]\npaths = [\"=/events\"]\nupstream = \"http://{}\"",
        events.address
    );
    let proxy =
        Proxy::to(victim.address).listener("header_timeout = \"2s\"").tables(&table).start().await;
    let watcher = Watcher::start(&proxy).await;
    let (cpu, kib) = (cpu_seconds(&proxy), proxy.resident_kib());
    let highest = Arc::new(AtomicU64::new(kib));
    let (top, pid) = (Arc::clone(&highest), proxy.pid());
    let sampling = tokio::spawn(async move {
        loop {
            top.fetch_max(resident_kib(pid), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let port = proxy.address.port().to_string();
    let connections = CONNECTIONS.to_string();
    let command = ["python", "http2-attacks/attack.py", name, &port, "--connections", &connections];
    let mut figures = Peer::run(&command).await;
    sampling.abort();
    let facts = figures.as_object_mut().unwrap();
    let cpu = cpu_seconds(&proxy) - cpu;
    let grown = highest.load(Ordering::SeqCst) - kib;
    let requests = victim.requests().len();
    facts.insert("cpu_s".into(), json!((cpu * 100.0).round() / 100.0));
    facts.insert("kib".into(), json!(grown));
    facts.insert("upstream_requests".into(), json!(requests));
    facts.insert("events_late_ms".into(), json!(watcher.latest().await));
    println!("{figures}");
    for (end, _) in figures["ends"].as_object().unwrap() {
        assert!(bounds.ends.contains(&end.as_str()), "{end}: {figures}");
    }
    assert!(figures["longest_s"].as_f64().unwrap() <= bounds.longest, "too long: {figures}");
    assert!(cpu <= bounds.cpu, "CPU: {figures}");
    assert!(grown <= bounds.kib, "memory: {figures}");
    assert!(requests <= bounds.requests, "requests: {figures}");
    assert!(figures["events_late_ms"].as_u64().unwrap() < LATE_MS, "the stream: {figures}");
    figures
}

/// The upstream that is attacked: `/big` never ends, `/hold` is not answered, all else is.
async fn serve(mut upstream: Conversation) {
    while let Some(head) = upstream.try_head().await {
        upstream.note(&head);
        if head.contains(" /big ") {
            let event = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
            upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for _ in 0..BIG_EVENTS {
                if upstream.stream.write_all(event.as_bytes()).await.is_err() {
                    return;
                }
            }
            upstream.hold().await;
            return;
        }
        if head.contains(" /hold ") {
            upstream.hold().await;
            return;
        }
        if upstream.stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// An upstream whose events say when they were sent.
async fn tell_the_time(mut upstream: Conversation) {
    upstream.request().await;
    upstream.write(SSE_HEAD).await;
    let mut ticks = tokio::time::interval(PACE);
    loop {
        ticks.tick().await;
        let event = format!("data: {}\n\n", now_ms());
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        if upstream.stream.write_all(chunk.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A well-behaved HTTP/2 client that reads events on a connection of its own.
struct Watcher {
    reading: JoinHandle<()>,
    latest: Arc<AtomicU64>,
    stops: Arc<AtomicBool>,
}

impl Watcher {
    async fn start(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("http://test/events").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let mut body = soon("the stream", response).await.unwrap().into_body();
        let latest = Arc::new(AtomicU64::new(0));
        let stops = Arc::new(AtomicBool::new(false));
        let (late, stop) = (Arc::clone(&latest), Arc::clone(&stops));
        let reading = tokio::spawn(async move {
            // It ends with the test; until then the stream must not.
            let _requests = requests;
            let (mut seen, mut text) = (0, String::new());
            while !stop.load(Ordering::SeqCst) || seen < 5 {
                let data: Bytes = soon("an event", body.data()).await.unwrap().unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                text.push_str(std::str::from_utf8(&data).unwrap());
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let sent = event.rsplit("data: ").next().unwrap().to_owned();
                    text = rest.to_owned();
                    let sent: u64 = sent.parse().unwrap();
                    late.fetch_max(now_ms().saturating_sub(sent), Ordering::SeqCst);
                    seen += 1;
                }
            }
        });
        Self { reading, latest, stops }
    }

    /// By how much the latest event was late, in ms.
    async fn latest(self) -> u64 {
        self.stops.store(true, Ordering::SeqCst);
        soon("the stream's next event", self.reading).await.unwrap();
        self.latest.load(Ordering::SeqCst)
    }
}

/// Processor time that a proxy has used, in seconds: `utime` and `stime` of proc(5), in ticks.
fn cpu_seconds(proxy: &Proxy) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

macro_rules! attacks {
    ($($test:ident: $attack:literal, $bounds:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            attack($attack, $bounds).await;
        }
    )*};
}

attacks! {
    cve_2023_44487_rapid_reset: "rapid-reset", Bounds { requests: 1000, ..CUT_OFF };
    cve_2023_44487_rapid_reset_below_the_limit: "rapid-reset-patient",
        Bounds { ends: BORNE, longest: 5.0, requests: 600, ..CUT_OFF };
    cve_2025_8671_made_you_reset_by_a_window: "made-you-reset-window",
        Bounds { requests: 5000, ..CUT_OFF };
    cve_2025_8671_made_you_reset_by_no_increment: "made-you-reset-zero",
        Bounds { ends: WRONG, ..CUT_OFF };
    cve_2025_8671_made_you_reset_by_a_length: "made-you-reset-length",
        Bounds { requests: 5000, ..CUT_OFF };
    cve_2025_8671_made_you_reset_by_malformed_requests: "made-you-reset-malformed", CUT_OFF;
    cve_2019_9514_reset_flood: "reset-flood", CUT_OFF;
    cve_2024_27316_continuation_flood: "continuation-flood", CUT_OFF;
    cve_2024_27316_continuation_flood_of_small_frames: "continuation-flood-small", CUT_OFF;
    cve_2024_27316_continuation_flood_of_empty_frames: "continuation-flood-empty", CUT_OFF;
    cve_2019_9512_ping_flood: "ping-flood", CUT_OFF;
    cve_2019_9512_ping_flood_unread: "ping-flood-deaf", CUT_OFF;
    cve_2019_9515_settings_flood: "settings-flood", CUT_OFF;
    cve_2019_9516_fields_without_names: "empty-fields", Bounds { ends: WRONG, ..CUT_OFF };
    cve_2019_9516_fields_without_values: "empty-values", CUT_OFF;
    // 500 responses that nobody reads.
    cve_2019_9517_internal_data_buffering: "internal-data-buffering",
        Bounds { ends: BORNE, longest: 5.0, cpu: 2.0, kib: 96 * 1024, requests: 500 };
    cve_2019_9518_empty_frames: "empty-frames", CUT_OFF;
    cve_2019_9518_frames_of_padding: "empty-frames-padded", CUT_OFF;
    // Behind 50 requests on each connection.
    cve_2019_9513_resource_loop: "resource-loop", Bounds { requests: 250, ..CUT_OFF };
    cve_2019_9511_data_dribble: "data-dribble",
        Bounds { cpu: 2.0, kib: 32 * 1024, requests: 250, ..CUT_OFF };
    // 250 responses that are read by the byte.
    cve_2019_9511_data_dribble_below_the_limit: "data-dribble-patient",
        Bounds { ends: BORNE, longest: 5.0, cpu: 2.0, kib: 48 * 1024, requests: 250 };
    // A request of 10 KiB that stands for 40 MiB is answered with 431, 1024 times in a connection.
    cve_2016_6581_hpack_bomb: "hpack-bomb",
        Bounds { ends: &[CALM, "reset", "open"], longest: 5.0, cpu: 6.0, ..CUT_OFF };
    // Once header_timeout as what it may become, once as what it is taken for then.
    a_preface_that_drips: "slow-preface",
        Bounds { ends: &["closed"], longest: 5.0, requests: 0, ..CUT_OFF };
    heads_that_drip: "slow-headers", Bounds { ends: &[CALM], longest: 4.0, ..CUT_OFF };
}
