use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::browser_h2::{Stage, secure_url};
use crate::dialects::{APIS, Api};
use crate::harness::{Client, Conversation, Peer, Proxy, ProxyBuilder, Upstream, soon, until};

/// The time of the tests: as long as grace allows, and no longer.
const GRACE: Duration = Duration::from_millis(1200);
const SERVER: &str = "workers = 2\ndrain = { grace = \"1200ms\", spread = \"400ms\" }";

const CHAT_CHUNK: &str = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";

/// An upstream whose streams say that much, and then nothing.
async fn endless(says: &'static str) -> Upstream {
    Upstream::sse(move |mut upstream: Conversation| async move {
        upstream.chunk(says).await;
        upstream.hold().await;
    })
    .await
}

/// A client that has read `says` from an endless stream at `path`.
async fn listening(proxy: &Proxy, path: &str, says: &str) -> Client {
    let mut client = proxy.client().await;
    client.get(path).await;
    client.head().await;
    let mut came = String::new();
    while came.len() < says.len() {
        came += &client.text().await;
    }
    assert_eq!(came, says);
    client
}

/// The milliseconds of a farewell, which is a line of its own and nothing more.
fn retry(farewell: &str) -> u64 {
    let millis = farewell.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix('\n'));
    millis.and_then(|millis| millis.parse().ok()).unwrap_or_else(|| panic!("{farewell:?}"))
}

#[tokio::test]
async fn an_event_stream_runs_on_and_is_told_within_grace_when_to_come_back() {
    let upstream = endless("data: a\n\n").await;
    let mut proxy = Proxy::to(upstream.address).server(SERVER).start().await;
    let mut client = listening(&proxy, "/", "data: a\n\n").await;
    let asked = Instant::now();
    proxy.signal("TERM");
    let millis = retry(&client.text().await);
    let after = asked.elapsed();
    assert!((2000..=3000).contains(&millis), "2 s and some jitter: {millis}");
    assert!(after >= Duration::from_millis(790), "it could have ended by itself: {after:?}");
    assert!(client.chunk().await.unwrap().is_empty(), "a clean end");
    assert!(!client.ends().await, "with a FIN");
    assert_eq!(proxy.exit_code().await, Some(0));
    let took = asked.elapsed();
    assert!(took < GRACE + Duration::from_millis(600), "{took:?}");
    let end = &proxy.logged("end", 1).await[0];
    assert_eq!((&end["reason"], &end["status"]), (&"drained".into(), &200.into()));
    assert_eq!(end["bytes_out"], 9 + 12, "the line counts: {end}");
}

#[tokio::test]
async fn farewells_to_event_streams_are_spread_and_so_are_their_returns() {
    const MANY: usize = 200;
    let upstream = endless("data: a\n\n").await;
    let server = "workers = 2\ndrain = { grace = \"3s\", spread = \"1500ms\" }";
    let route = "sse.retry = \"1s\"";
    let mut proxy = Proxy::to(upstream.address).server(server).route(route).start().await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(listening(&proxy, "/", "data: a\n\n").await);
    }
    let asked = Instant::now();
    proxy.signal("TERM");
    let mut told = JoinSet::new();
    for mut client in clients {
        told.spawn(async move {
            let millis = retry(&client.text().await);
            let after = asked.elapsed();
            assert!(client.chunk().await.unwrap().is_empty());
            (after, millis)
        });
    }
    let told = told.join_all().await;
    let first = told.iter().map(|(after, _)| *after).min().unwrap();
    let last = told.iter().map(|(after, _)| *after).max().unwrap();
    assert!(first >= Duration::from_millis(1490), "the first was told after {first:?}");
    assert!(last < Duration::from_millis(3900), "the last was told after {last:?}");
    assert!(last - first > Duration::from_millis(1000), "from {first:?} to {last:?}");
    let different: std::collections::BTreeSet<_> = told.iter().map(|(_, millis)| millis).collect();
    assert!(different.iter().all(|millis| (1000..=1500).contains(*millis)), "{different:?}");
    assert!(different.len() > MANY / 2, "{} different times", different.len());
    assert_eq!(proxy.exit_code().await, Some(0));
    let ends = proxy.logged("end", MANY).await;
    assert!(ends.iter().all(|end| end["reason"] == "drained"), "{:?}", ends[0]);
}

#[tokio::test]
async fn in_the_middle_of_an_event_the_farewell_waits_for_its_end() {
    let upstream = Upstream::sse(|mut upstream: Conversation| async move {
        upstream.chunk("data: a\n").await;
        tokio::time::sleep(Duration::from_millis(1700)).await;
        upstream.chunk("\n").await;
        upstream.hold().await;
    })
    .await;
    // Its turn is at the latest after 2 s; a first stream takes the place at half of it.
    let server = "workers = 2\ndrain = { grace = \"3s\", spread = \"3s\" }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    let mut client = listening(&proxy, "/", "data: a\n").await;
    proxy.signal("TERM");
    assert_eq!(client.text().await, "\n");
    retry(&client.text().await);
    assert!(client.chunk().await.unwrap().is_empty());
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn at_grace_an_unfinished_event_is_cut_and_nothing_is_put_behind_it() {
    for says in ["data: a\n", "event: x\n", "da"] {
        let upstream = endless(says).await;
        let mut proxy = Proxy::to(upstream.address).server(SERVER).start().await;
        let mut client = listening(&proxy, "/", says).await;
        proxy.signal("TERM");
        assert_eq!(client.chunk().await, None, "{says:?}: cut");
        assert_eq!(proxy.exit_code().await, Some(0));
        assert_eq!(proxy.reason().await, "drained");
    }
}

#[tokio::test]
async fn what_has_a_length_or_a_coding_gets_no_line_and_all_of_grace() {
    for fields in ["Content-Length: 100", "Content-Encoding: gzip\r\nTransfer-Encoding: chunked"] {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{fields}\r\n\r\n");
        let upstream = Upstream::serve(move |mut upstream| {
            let head = head.clone();
            async move {
                upstream.request().await;
                upstream.write(&head).await;
                upstream.hold().await;
            }
        })
        .await;
        let mut proxy = Proxy::to(upstream.address).server(SERVER).start().await;
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await;
        let asked = Instant::now();
        proxy.signal("TERM");
        client.ends().await;
        let after = asked.elapsed();
        assert!(after >= GRACE - Duration::from_millis(10), "{fields}: cut after {after:?}");
        assert_eq!(proxy.exit_code().await, Some(0));
        assert_eq!(proxy.reason().await, "drained");
    }
}

#[tokio::test]
async fn where_the_connection_ends_the_body_it_ends_cleanly() {
    let upstream = endless("data: a\n\n").await;
    let mut proxy = Proxy::to(upstream.address).server(SERVER).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = client.head().await;
    proxy.logged("open", 1).await;
    proxy.signal("TERM");
    let response = client.body_of(head, false).await;
    assert!(response.complete, "a FIN, no reset");
    let farewell = response.text().strip_prefix("data: a\n\n").unwrap();
    retry(farewell);
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn an_unfinished_answer_of_a_model_does_not_look_whole() {
    let upstream = endless(CHAT_CHUNK).await;
    for (route, error_event) in [("", true), ("sse.error_event = false", false)] {
        let mut proxy = Proxy::to(upstream.address).server(SERVER).route(route).start().await;
        let mut client = listening(&proxy, "/v1/chat/completions", CHAT_CHUNK).await;
        proxy.signal("TERM");
        let farewell = client.text().await;
        let (line, rest) = farewell.split_at(farewell.find('\n').unwrap() + 1);
        retry(line);
        assert_eq!(rest.starts_with("data: {\"error\":{"), error_event, "{farewell:?}");
        assert_eq!(rest.ends_with("}\n\n"), error_event, "{farewell:?}");
        assert_eq!(client.chunk().await, None, "no last chunk");
        assert_eq!(proxy.exit_code().await, Some(0));
        assert_eq!(proxy.reason().await, "drained");
    }
}

#[tokio::test]
async fn without_notice_what_is_open_at_grace_is_cut_without_a_word() {
    let upstream = endless("data: a\n\n").await;
    let server = "workers = 2\ndrain = { grace = \"700ms\", spread = \"100ms\", notify = false }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    let mut client = listening(&proxy, "/", "data: a\n\n").await;
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(client.chunk().await, None, "cut");
    let after = asked.elapsed();
    assert!(after >= Duration::from_millis(690), "{after:?}");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.reason().await, "drained");
}

/// Its own deadline runs on; the process waits for it no longer than for others.
#[tokio::test]
async fn a_client_that_does_not_read_its_farewell_holds_the_process_for_seconds_only() {
    let upstream = Upstream::sse(|mut upstream: Conversation| async move {
        let event = format!("data: {}\n\n", "x".repeat(8000));
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        while upstream.stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).server(SERVER).start().await;
    let mut client = Client::connect_narrow(proxy.address).await;
    client.get("/").await;
    client.head().await;
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(soon("the end", proxy.exit_code()).await, Some(0));
    let took = asked.elapsed();
    assert!(took < GRACE + Duration::from_secs(7), "{took:?}");
}

// === Programs of others ===

/// What an `EventSource` saw of a proxy that was stopped, and of the one that took its place.
async fn restarted(watching: &[&str], mut proxy: Proxy, next: ProxyBuilder) -> Value {
    let restarting = async {
        proxy.logged("open", 1).await;
        until("events flow", || async { proxy.sum(&["longwire_events_total{"]).await > 0.0 }).await;
        proxy.signal("TERM");
        // It takes the address over at once; a client that came while nobody listens would go on
        // to wait for its turn, and show less.
        until("the address is free", || async { TcpStream::connect(proxy.address).await.is_err() })
            .await;
        let successor = next.start().await;
        assert_eq!(proxy.exit_code().await, Some(0));
        let end = &proxy.log("end");
        let stream: Vec<_> = end.iter().filter(|end| end["path"] == "/events").collect();
        assert_eq!(stream.len(), 1, "{end:?}");
        assert_eq!(stream[0]["reason"], "drained");
        successor
    };
    let (seen, _successor) = tokio::join!(Peer::run(watching), restarting);
    seen
}

const QUICKLY: &str = "workers = 2\ndrain = { grace = \"2s\", spread = \"1s\" }";
/// Other than what anybody waits by default, which is 3 s.
const RETRY: &str = "sse.retry = \"1s\"";

fn came_back(seen: &Value) {
    assert_eq!((&seen["errors"], &seen["empty"]), (&1.into(), &0.into()), "{seen}");
    let back = seen["back_ms"].as_u64().unwrap();
    assert!((950..2500).contains(&back), "told 1000 to 1500 ms: {seen}");
}

/// What a client of that script sees of a restart without TLS.
async fn seen_by(script: &str) -> Value {
    let stage = Stage::new().await;
    let proxy = Proxy::to(stage.server.address).server(QUICKLY).route(RETRY).start().await;
    let again = format!("[listeners.again]\nbind = [\"{}\"]", proxy.address);
    let next = Proxy::to(stage.server.address).tables(&again);
    let url = proxy.url();
    restarted(&["node", script, &url], proxy, next).await
}

#[tokio::test]
async fn the_event_source_of_npm_comes_back_when_it_was_told_to() {
    came_back(&seen_by("farewell/node.mjs").await);
}

#[tokio::test]
async fn the_event_source_of_chromium_comes_back_when_it_was_told_to() {
    let seen = seen_by("farewell/browser.mjs").await;
    assert_eq!(seen["protocol"], "http/1.1");
    came_back(&seen);
}

#[tokio::test]
async fn the_event_source_of_chromium_comes_back_over_http_2() {
    let stage = Stage::new().await;
    let proxy = stage.secure().server(QUICKLY).route(RETRY).start().await;
    let next = stage.secure_at(proxy.address);
    let (url, cert) = (secure_url(&proxy), stage.file("chat.crt"));
    let watching = ["node", "farewell/browser.mjs", &url, "--cert", &cert];
    let seen = restarted(&watching, proxy, next).await;
    assert_eq!(seen["protocol"], "h2");
    came_back(&seen);
}

/// A proxy that is told to end as soon as the SDK has its first words.
async fn read_while_it_drains(api: &Api, sdk: &[&str], options: &[&str], dialect: &str) -> Value {
    let upstream = endless(api.begins).await;
    let mut proxy = Proxy::to(upstream.address).server(SERVER).route(dialect).start().await;
    let base = format!("{}{}", proxy.url(), api.base);
    let command = [&sdk[..2], &[&base], &sdk[2..], options].concat();
    let (said, ()) = tokio::join!(Peer::run(&command), async {
        until("words came", || async { proxy.sum(&["longwire_events_total{"]).await > 0.0 }).await;
        proxy.signal("TERM");
    });
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.reason().await, "drained");
    said
}

#[tokio::test]
async fn sdks_raise_when_an_answer_is_not_finished() {
    for api in APIS {
        for sdk in api.sdks {
            let said = read_while_it_drains(api, sdk, &[], "").await;
            assert_eq!(said["text"], "Hel", "{sdk:?}: {said}");
            let message = said["message"].as_str().unwrap();
            assert!(message.contains("the proxy is shutting down"), "{sdk:?}: {said}");
        }
    }
}

#[tokio::test]
async fn sdks_take_no_notice_of_the_line() {
    for api in APIS {
        for sdk in api.sdks {
            // Its helper of a higher level wants a whole message, whatever is in it.
            if sdk.contains(&"stream") {
                continue;
            }
            let said = read_while_it_drains(api, sdk, &["--whole"], "dialect = \"plain\"").await;
            assert_eq!(said["text"], "Hel", "{sdk:?}: {said}");
        }
    }
}
