use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::harness::{Client, Conversation, Proxy, SSE_HEAD, Upstream};
use crate::websocket::{AGREE, FIN, TEXT, Ws};

/// Clients that ask again and again; together they send 200 requests a second.
const ASKERS: usize = 20;
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How much is open, and what is done to it.
struct Load {
    /// Event streams, and as many WebSockets.
    streams: usize,
    /// Between two events of a stream, and between two messages of a WebSocket.
    gap: Duration,
    reloads: usize,
    /// Between two reloads.
    pause: Duration,
}

/// Streams, an echo, and short answers, on a connection that is kept.
async fn origin(gap: Duration) -> Upstream {
    Upstream::serve(move |mut upstream: Conversation| async move {
        while let Some(request) = upstream.try_request().await {
            if request.starts_with("GET /events ") {
                upstream.write(SSE_HEAD).await;
                return count(upstream, gap).await;
            }
            if request.starts_with("GET /chat ") {
                upstream.write(AGREE).await;
                return echo(Ws::of(upstream)).await;
            }
            upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await
}

async fn count(mut upstream: Conversation, gap: Duration) {
    let mut turns = interval(gap);
    for number in 0.. {
        turns.tick().await;
        let event = format!("data: {number}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        if tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, chunk.as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn echo(mut socket: Ws) {
    while let Some(frame) = socket.try_frame().await {
        socket.send(frame.opcode(), frame.payload).await;
    }
}

/// Turns true when it has been enough.
type Enough = watch::Receiver<bool>;

/// Reads numbered events until it has been enough; gives the longest that it waited for one.
async fn read_events(mut client: Client, enough: Enough) -> Duration {
    let (mut next, mut text) = (0, String::new());
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while !*enough.borrow() {
        let chunk = client.chunk().await.expect("event streams do not break");
        assert!(!chunk.is_empty(), "event streams do not end: after event {next}");
        text += std::str::from_utf8(&chunk).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            assert_eq!(event, format!("data: {next}"), "events come once, and in their order");
            next += 1;
            text = rest.to_owned();
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}

/// The same with messages that come back.
async fn exchange_messages(mut socket: Ws, gap: Duration, enough: Enough) -> Duration {
    let (mut turns, mut longest) = (paced(gap), Duration::ZERO);
    for number in 0_u32.. {
        turns.tick().await;
        if *enough.borrow() {
            break;
        }
        let sent = Instant::now();
        socket.send(TEXT, number.to_string()).await;
        let frame = socket.try_frame().await.expect("WebSockets do not break");
        assert_eq!(frame.first, FIN | TEXT, "nobody closes: {frame:?}");
        assert_eq!(frame.payload, number.to_string().as_bytes());
        longest = longest.max(sent.elapsed());
    }
    longest
}

/// Asks and counts until it has been enough, on a connection of each request's own or on one.
async fn ask(address: SocketAddr, own: bool, asked: Arc<AtomicUsize>, enough: Enough) {
    let (mut turns, mut client) = (paced(ASK_EVERY), Client::connect(address).await);
    while !*enough.borrow() {
        turns.tick().await;
        if own {
            client = Client::connect(address).await;
        }
        client.get("/short").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "ok"), "{}", response.head);
        assert_eq!(response.field("connection"), None, "connections are kept");
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

fn paced(gap: Duration) -> Interval {
    let mut turns = interval(gap);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// What the configuration becomes at a reload, and whether it can be used. The streams are those of
/// `old`.
fn edition(first: &str, old: SocketAddr, new: SocketAddr, reload: usize) -> (String, bool) {
    let endpoints = format!("endpoints = [\"http://{old}\"]");
    let change = |from: &str, to: &str| {
        assert!(first.contains(from), "{from:?} is not in\n{first}");
        first.replace(from, to)
    };
    match reload % 8 {
        0 => {
            (change(&endpoints, &format!("endpoints = [\"http://{old}\", \"http://{new}\"]")), true)
        }
        1 => (change(&endpoints, &format!("endpoints = [\"http://{new}\"]")), true),
        2 => {
            let timeouts = "[defaults.timeouts]\nfirst_byte = \"7s\"\nidle = \"9s\"\n";
            (format!("{first}\n{timeouts}"), true)
        }
        3 => (
            first.replace("\"up\"", "\"renamed\"").replace("upstreams.up", "upstreams.renamed"),
            true,
        ),
        4 => (change(&endpoints, "endpoints = 1"), false),
        5 => {
            let route = "[routes.more]\npaths = [\"/more/\"]\nupstream = \"up\"\n";
            (change("[routes.all]", &format!("{route}[routes.everything]")), true)
        }
        6 => (format!("{first}\nthis is not TOML"), false),
        _ => {
            let named = format!("endpoints = [{{ url = \"http://{old}\", name = \"old\" }}]");
            (change(&endpoints, &format!("{named}\nbalance = \"round_robin\"")), true)
        }
    }
}

async fn survives(load: Load) {
    let (old, new) = (origin(load.gap).await, origin(load.gap).await);
    let proxy = Proxy::to(old.address).start().await;
    let first = std::fs::read_to_string(proxy.config()).unwrap();
    let stop = watch::Sender::new(false);
    let (mut streams, mut askers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..load.streams {
        let mut client = proxy.client().await;
        client.get("/events").await;
        client.head().await;
        streams.spawn(read_events(client, stop.subscribe()));
        let socket = Ws::open(&proxy).await;
        streams.spawn(exchange_messages(socket, load.gap, stop.subscribe()));
    }
    let (began, asked) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    for number in 0..ASKERS {
        let asked = Arc::clone(&asked);
        askers.spawn(ask(proxy.address, number % 2 == 0, asked, stop.subscribe()));
    }

    let mut warm = 0;
    for reload in 0..load.reloads {
        let (text, is_good) = edition(&first, old.address, new.address, reload);
        std::fs::write(proxy.config(), text).unwrap();
        let (status, answer) = proxy.reload().await;
        assert_eq!(status, if is_good { 200 } else { 422 }, "reload {reload}: {answer}");
        sleep(load.pause).await;
        // Each kind of reload has been seen by then.
        if reload == 9 {
            warm = proxy.resident_kib();
        }
        // What ends before it is told to has failed, and says why.
        let ended = (streams.try_join_next(), askers.try_join_next());
        let (None, None) = &ended else { panic!("at reload {reload}: {ended:?}") };
    }
    let took = began.elapsed();
    let active = |kind| ["longwire_streams_active{", kind];
    let many = load.streams as f64;
    assert_eq!(proxy.sum(&active("kind=\"sse\"")).await, many, "all that were opened, still");
    assert_eq!(proxy.sum(&active("kind=\"websocket\"")).await, many);
    let now = proxy.resident_kib();
    stop.send_replace(true);
    let longest = timeout(Duration::from_secs(30), streams.join_all()).await.unwrap();
    timeout(Duration::from_secs(30), askers.join_all()).await.unwrap();

    let asked = asked.load(Ordering::Relaxed);
    let longest = longest.into_iter().max().unwrap();
    println!("{asked} requests in {took:?}, longest gap {longest:?}, {warm} KiB, then {now} KiB");
    let expected = took.as_secs_f64() * 200.0;
    assert!(asked as f64 > expected / 2.0, "{asked} of {expected} requests were sent");
    // Busy as the machine may be: the proxy does not stop the world.
    assert!(longest < Duration::from_secs(3), "a stream was silent for {longest:?}");
    assert!(now < warm + warm / 4 + 2048, "{warm} KiB when warm, {now} KiB at the end");
    assert!(old.connections() > 2 * load.streams && new.connections() > 0, "both were asked");
    let refused = proxy.metric(&["longwire_config_reloads_total{result=\"failed\"}"]).await;
    assert!(refused > 0.0, "broken files were among them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_and_a_stream_of_requests_survive_20_reloads() {
    let (gap, pause) = (Duration::from_millis(200), Duration::from_millis(150));
    survives(Load { streams: 50, gap, reloads: 20, pause }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: make soak"]
async fn a_thousand_streams_and_a_stream_of_requests_survive_100_reloads() {
    let (gap, pause) = (Duration::from_millis(500), Duration::from_millis(500));
    survives(Load { streams: 500, gap, reloads: 100, pause }).await;
}
