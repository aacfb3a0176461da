use std::process::Stdio;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use longwire::clock;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};

use crate::harness::{Peer, Proxy, Upstream, soon, until};

#[tokio::test]
async fn a_browser_reads_a_chat_full_of_heartbeats() {
    let backend =
        Peer::serve(&["node", "fetch-event-source/backend.mjs", "--gap-ms", "1000"]).await;
    let proxy = Proxy::to(backend.address).route("sse.heartbeat = \"250ms\"").start().await;
    let browser = ["node", "fetch-event-source/browser.mjs", &proxy.url(), "--expect-heartbeats"];
    let measured = Peer::run(&browser).await;
    assert_eq!(measured["chat"]["events"], 12, "{measured}");

    let of = |path: &str| -> Vec<Value> {
        proxy.log("end").into_iter().filter(|end| end["path"] == path).collect()
    };
    until("all streams have ended", || async {
        of("/api/time").len() == 1 && of("/api/chat").len() == 3
    })
    .await;
    assert_eq!(of("/api/time")[0]["reason"], "client_closed", "EventSource.close()");
    let chats = of("/api/chat");
    assert!(chats.iter().all(|end| end["reason"] == "completed"), "{chats:?}");
    // One of the two streams was read as text: its comments are the heartbeats, no more, no less.
    let streams: Vec<_> = chats.iter().filter(|end| end["kind"] == "sse").collect();
    assert!(streams.iter().all(|end| end["events"] == 13), "{streams:?}");
    let comments = &measured["raw"]["comments"];
    assert!(streams.iter().any(|end| end["heartbeats"] == *comments), "{comments}: {streams:?}");
}

#[tokio::test]
async fn a_node_server_hears_at_once_that_its_clients_left() {
    // Its events are a second apart: that a write fails would come too late.
    let server = Peer::serve(&["node", "close-listener/server.mjs"]).await;
    let proxy = Proxy::to(server.address).start().await;
    let clients = Peer::run(&["node", "close-listener/clients.mjs", &proxy.url(), "10"]).await;
    ten_have_left(&server, &proxy, clients["destroyed_ms"].as_i64().unwrap(), 200).await;
}

#[tokio::test]
async fn a_node_server_hears_at_once_that_its_clients_left_before_the_first_byte() {
    let server = Peer::serve(&["node", "close-listener/server.mjs", "--silent"]).await;
    let proxy = Proxy::to(server.address).start().await;
    let mut clients: Vec<_> =
        (0..10).map(|_| curl(&[&proxy.url()]).stdout(Stdio::null()).spawn().unwrap()).collect();
    server.saw("open", 10).await;
    let left = clock::wall().duration_since(UNIX_EPOCH).unwrap().as_millis();
    for client in &mut clients {
        soon("curl's end", client.kill()).await.unwrap();
    }
    ten_have_left(&server, &proxy, i64::try_from(left).unwrap(), 499).await;
}

/// Ten clients have left at `left` (ms since 1970): both sides of the proxy say so.
async fn ten_have_left(server: &Peer, proxy: &Proxy, left: i64, status: u16) {
    for event in ["close", "socket-close"] {
        let closes = server.saw(event, 10).await;
        assert_eq!(closes.len(), 10, "{event}, one for each client: {closes:?}");
        for close in closes {
            let after = close["ms"].as_i64().unwrap() - left;
            assert!((0..=500).contains(&after), "{after} ms after the clients left: {close}");
        }
    }
    let ends = proxy.logged("end", 10).await;
    assert_eq!(ends.len(), 10);
    for end in ends {
        assert_eq!((&end["reason"], &end["status"]), (&json!("client_closed"), &json!(status)));
    }
    for family in ["longwire_cancelled_upstream_total", "longwire_cancel_seconds_count"] {
        proxy.metric_becomes(&[family, "route=\"all\""], 10.0).await;
    }
}

#[tokio::test]
async fn nginx_downgrades_and_buffers_where_longwire_does_not() {
    let binary = env!("CARGO_BIN_EXE_longwire");
    let compare = ["python", "compare-nginx/compare.py", "--longwire", binary, "--expect-nginx"];
    let facts = Peer::run(&compare).await;
    let (nginx, longwire) = (&facts["nginx"], &facts["longwire"]);
    for (fact, by_nginx, by_longwire) in [
        ("version", json!("HTTP/1.0"), json!("HTTP/1.1")),
        ("connection", json!("close"), json!("none")),
        ("connections", json!(200), json!(1)),
        ("events", json!(10), json!(10)),
        ("moments", json!(1), json!(10)),
    ] {
        assert_eq!((&nginx[fact], &longwire[fact]), (&by_nginx, &by_longwire), "{fact}");
    }
}

#[tokio::test]
async fn curl_prints_each_event_as_it_comes() {
    for options in [&["--no-buffer"][..], &["--no-buffer", "--http1.0"]] {
        let (upstream, next) = on_demand().await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut curl = curl(options).arg(proxy.url()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        for number in 0..5 {
            // The upstream says no more until this event was seen.
            next.send(number).unwrap();
            for expected in [&*format!("data: {number}"), ""] {
                let line = soon("the event on curl's output", lines.next_line()).await.unwrap();
                assert_eq!(line.as_deref(), Some(expected), "{options:?}");
            }
        }
        drop(next);
        assert_eq!(soon("the end", lines.next_line()).await.unwrap(), None);
        assert!(soon("curl's exit", curl.wait()).await.unwrap().success(), "a clean end");
        assert_eq!(proxy.reason().await, "completed");
    }
}

/// A stream whose next event comes when the test says so: a proxy that holds one back stops it all.
async fn on_demand() -> (Upstream, mpsc::UnboundedSender<u32>) {
    let (next, numbers) = mpsc::unbounded_channel();
    let numbers = Arc::new(Mutex::new(numbers));
    let upstream = Upstream::sse(move |mut upstream| {
        let numbers = Arc::clone(&numbers);
        async move {
            while let Some(number) = numbers.lock().await.recv().await {
                upstream.chunk(format!("data: {number}\n\n")).await;
            }
            upstream.last_chunk().await;
            upstream.hold().await;
        }
    })
    .await;
    (upstream, next)
}

#[tokio::test]
async fn http_1_0_clients_do_not_downgrade_the_upstream() {
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let proxy = Proxy::to(echo.address).start().await;
    for _ in 0..3 {
        let url = format!("{}/headers", proxy.url());
        let output = soon("curl", curl(&["--http1.0", "--include", &url]).output()).await.unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("chunked"), "{head}");
        let seen: Value = serde_json::from_str(body).unwrap();
        assert_eq!(seen["line"], "GET /headers HTTP/1.1");
        assert!(!body.to_ascii_lowercase().contains("[\"connection\", \"close\"]"), "{body}");
    }
    // A stream without chunks: the end of the connection is the end, and a clean one.
    let url = format!("{}/sse?n=3&gap_ms=10", proxy.url());
    let output = soon("curl", curl(&["--http1.0", "--include", &url]).output()).await.unwrap();
    assert!(output.status.success());
    let answer = String::from_utf8(output.stdout).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    assert_eq!(echo.events("open").len(), 1, "upstream connections for 4 requests");
}

#[tokio::test]
async fn curl_uploads_in_chunks() {
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let proxy = Proxy::to(echo.address).start().await;
    let url = format!("{}/echo", proxy.url());
    // Should `100 Continue` not come through, then curl waits longer than the test.
    let mut curl = curl(&["-X", "POST", "-T", "-", "--expect100-timeout", "60", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pieces: Vec<Vec<u8>> =
        (1..=100).map(|number| vec![number; 100 * number as usize]).collect();
    let mut stdin = curl.stdin.take().unwrap();
    for piece in &pieces {
        soon("curl to take a piece", stdin.write_all(piece)).await.unwrap();
    }
    drop(stdin);
    let output = soon("curl", curl.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    assert!(output.stdout == pieces.concat(), "{} bytes came back", output.stdout.len());
    let request = &echo.saw("request", 1).await[0];
    let has = |name: &str, value: &str| {
        let fields = request["fields"].as_array().unwrap();
        let is = |text: &Value, value: &str| text.as_str().unwrap().eq_ignore_ascii_case(value);
        fields.iter().any(|field| is(&field[0], name) && is(&field[1], value))
    };
    assert!(has("transfer-encoding", "chunked") && has("expect", "100-continue"), "{request}");
    assert_eq!(proxy.logged("end", 1).await[0]["bytes_in"], 505_000);
}

#[tokio::test]
async fn http_client_keeps_its_connection_whatever_the_framing() {
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let proxy = Proxy::to(echo.address).start().await;
    let measured = Peer::run(&["python", "http-client.py", &proxy.url()]).await;
    assert_eq!(measured["events"], 10);
    assert_eq!(proxy.metric(&["longwire_connections_accepted_total"]).await, 1.0);
    assert_eq!(echo.events("open").len(), 1, "upstream connections for {measured}");
    let requests = measured["requests"].as_u64().unwrap();
    let ends = proxy.logged("end", requests as usize).await;
    assert!(
        ends.iter().all(|end| end["reason"] == "completed" || end["path"] == "/close"),
        "{ends:?}"
    );
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let upstream = Upstream::sse(|mut upstream| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let health = "[routes.health]\npaths = [\"=/healthz\"]\nrespond = { status = 200 }";
    let proxy = Proxy::to(upstream.address).tables(health).start().await;
    let mut finished = proxy.client().await;
    finished.get("/healthz").await;
    finished.response().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await;
        assert_eq!(client.text().await, "data: a\n\n");
        clients.push(client);
    }
    const ACTIVE: [&str; 3] = ["longwire_streams_active", "route=\"all\"", "kind=\"sse\""];
    assert_eq!(proxy.metric(&ACTIVE).await, 20.0);

    let (_, page) = proxy.admin("/metrics").await;
    assert_eq!(promtool(&page).await, (Some(0), String::new()));
    let bad = page.replace("longwire_bytes_total", "longwire_bytes");
    assert_ne!(promtool(&bad).await.0, Some(0), "promtool reads the page at all");

    clients.truncate(15);
    proxy.metric_becomes(&ACTIVE, 15.0).await;
    let (_, page) = proxy.admin("/metrics").await;
    let of = |family: &str| sum(&page, &[family]);
    let (opened, closed) =
        (of("longwire_streams_opened_total"), of("longwire_streams_closed_total"));
    assert_eq!((opened, closed), (21.0, 6.0));
    assert_eq!(of("longwire_streams_active"), opened - closed);
    assert_eq!(of("longwire_stream_duration_seconds_count"), closed, "one for each that ended");
}

/// What `promtool check metrics` says of a page: exit code, and all that it wrote.
pub async fn promtool(page: &str) -> (Option<i32>, String) {
    let mut promtool = Peer::program(&["promtool", "check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    soon("promtool to read", stdin.write_all(page.as_bytes())).await.unwrap();
    drop(stdin);
    let output = soon("promtool", promtool.wait_with_output()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn counters_move_while_bytes_flow() {
    let (upstream, next) = on_demand().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    let mut seen = Vec::new();
    for number in 0..2 {
        next.send(number).unwrap();
        client.text().await;
        let (_, page) = proxy.admin("/metrics").await;
        seen.push(["bytes_total", "events_total"].map(|family| {
            sum(&page, &[&*format!("longwire_{family}{{"), "direction=\"out\"", "kind=\"sse\""])
        }));
        assert_eq!(sum(&page, &["longwire_streams_active"]), 1.0, "the stream is open");
    }
    assert_eq!(seen, [[9.0, 1.0], [18.0, 2.0]], "bytes and events after each event");
}

/// The sum of all samples whose name and labels contain all of `parts`; there must be one.
fn sum(page: &str, parts: &[&str]) -> f64 {
    let is_one = |line: &&str| !line.starts_with('#') && parts.iter().all(|p| line.contains(p));
    let values: Vec<f64> = page
        .lines()
        .filter(is_one)
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!values.is_empty(), "no sample has {parts:?}:\n{page}");
    values.iter().sum()
}

/// The real one, whatever the environment says about proxies and defaults.
fn curl(options: &[&str]) -> Command {
    let plain = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30"];
    Peer::program(&[&plain, options].concat())
}
