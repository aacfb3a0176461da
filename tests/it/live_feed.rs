use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{Client, Conversation, Proxy, SSE_HEAD, Upstream, find, soon, until};
use crate::live::listens;

/// A watcher of the table.
struct Watcher(Client);

impl Watcher {
    async fn new(proxy: &Proxy) -> Self {
        let mut client = Client::connect(proxy.admin).await;
        client.send("GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("Cache-Control: no-store\r\n"), "{head}");
        Self(client)
    }

    /// The next event.
    async fn event(&mut self) -> (String, Value) {
        let end = loop {
            match find(&self.0.inbox, b"\n\n") {
                Some(end) => break end,
                None => {
                    let more = soon("an event", self.0.read()).await.unwrap();
                    assert!(!more.is_empty(), "the feed ended");
                    self.0.inbox.extend(more);
                }
            }
        };
        let event: Vec<_> = self.0.inbox.drain(..end + 2).collect();
        let event = String::from_utf8(event).unwrap();
        let (name, data) = event.trim().split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), data)
    }

    /// The first delta that is as it should be.
    async fn delta(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..8 {
            let (name, delta) = self.event().await;
            assert_eq!(name, "delta");
            if is_it(&delta) {
                return delta;
            }
        }
        panic!("no delta with {what}");
    }
}

async fn upstream() -> Upstream {
    Upstream::serve(|mut upstream: Conversation| async move {
        upstream.request().await;
        upstream.write(SSE_HEAD).await;
        upstream.chunk("data: a\n\n").await;
        upstream.head().await;
    })
    .await
}

#[tokio::test]
async fn a_watcher_is_told_all_then_what_changes() {
    let upstream = Upstream::serve(|mut upstream: Conversation| async move {
        let request = upstream.request().await;
        upstream.write(SSE_HEAD).await;
        upstream.chunk("data: a\n\n").await;
        for _ in 0..100 {
            if !request.starts_with("GET /moves") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            // It may have left.
            if upstream.stream.write_all(b"9\r\ndata: a\n\n\r\n").await.is_err() {
                break;
            }
        }
        upstream.hold().await;
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    let moves = listens(&proxy, "/moves", "moves").await;
    let _rests = listens(&proxy, "/rests", "rests").await;
    let mut watcher = Watcher::new(&proxy).await;
    let (name, snapshot) = watcher.event().await;
    assert_eq!(name, "snapshot");
    let ids = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&snapshot["streams"]), ["moves", "rests"], "{snapshot}");
    assert_eq!(snapshot["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&snapshot["draining"], &snapshot["allow_kill"]), (&json!(false), &json!(true)));
    assert_eq!(snapshot["upstreams"][0]["endpoints"][0]["streams"], 2);
    let totals = &snapshot["totals"];
    assert_eq!(totals["active"], json!({ "http": 0, "sse": 2, "stream": 0, "websocket": 0 }));
    assert_eq!((&totals["opened"], &totals["closed"]), (&json!(2), &json!(0)), "{totals}");
    assert_eq!(totals["states"]["streaming"], 2, "{totals}");
    assert_eq!(totals["connections"], 2);
    assert!(totals["resident_bytes"].as_u64().unwrap() > 1_000_000, "{totals}");
    assert!(totals["ttft_p50"].as_f64().unwrap() < 5.0, "{totals}");

    let delta = watcher
        .delta("events", |delta| {
            // In the first one the rate of what rests falls to nothing.
            let is_one = delta["changed"].as_array().is_some_and(|changed| changed.len() == 1);
            is_one && delta["changed"][0]["events_per_second"].as_f64() > Some(5.0)
        })
        .await;
    let changed = delta["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 1, "what rests is not told: {delta}");
    assert_eq!(changed[0]["id"], "moves");
    assert!(changed[0].get("route").is_none() && changed[0].get("age").is_none(), "{delta}");
    assert!(changed[0]["since_upstream"].as_f64().unwrap() < 1.0, "{delta}");

    let _new = listens(&proxy, "/rests", "new").await;
    let delta = watcher.delta("the new one", |delta| delta["opened"][0]["id"] == "new").await;
    assert_eq!(delta["opened"][0]["events_out"], 1);
    assert_eq!(delta["upstreams"][0]["endpoints"][0]["streams"], 3, "{delta}");

    drop(moves);
    let delta = watcher.delta("its end", |delta| delta["ended"][0]["id"] == "moves").await;
    assert_eq!(delta["ended"][0]["ended"]["reason"], "client_closed");
    assert_eq!((&delta["totals"]["closed"], &delta["totals"]["failed"]), (&json!(1), &json!(0)));

    proxy.signal("TERM");
    watcher.delta("the drain", |delta| delta["draining"] == true).await;
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0), "a watcher keeps no process alive");
}

/// Clients may choose their ids.
#[tokio::test]
async fn streams_of_one_id_are_told_apart() {
    let upstream = Upstream::sse(|mut upstream: Conversation| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let (first, _second) = (listens(&proxy, "/", "same").await, listens(&proxy, "/", "same").await);
    let mut watcher = Watcher::new(&proxy).await;
    let (_, snapshot) = watcher.event().await;
    let numbers = [0, 1].map(|at| snapshot["streams"][at]["number"].as_u64().unwrap());
    assert_ne!(numbers[0], numbers[1]);
    drop(first);
    let delta = watcher.delta("its end", |delta| delta["ended"][0]["id"] == "same").await;
    assert_eq!(delta["ended"][0]["number"], numbers[0]);
    for (number, is_open) in [(numbers[0], false), (numbers[1], true)] {
        let stream = proxy.api(&format!("/api/streams/same?number={number}")).await;
        assert_eq!((&stream["number"], stream["ended"].is_null()), (&json!(number), is_open));
    }
    for method in ["GET", "DELETE"] {
        let missing = proxy.ask_admin(method, "/api/streams/same?number=99").await;
        assert_eq!(missing.0, 404, "{}", missing.1);
    }
    let third = listens(&proxy, "/", "ended").await;
    let kill = format!("/api/streams/same?number={}", numbers[1]);
    assert_eq!(proxy.ask_admin("DELETE", &kill).await.0, 202);
    let ends = proxy.logged("end", 2).await;
    assert_eq!(ends[1]["reason"], "killed", "{ends:?}");
    let left = proxy.api("/api/streams").await;
    assert_eq!(left["matched"], 1, "the third runs on: {left}");
    // Its id is the name of a page.
    let number = left["streams"][0]["number"].as_u64().unwrap();
    let stream = proxy.api(&format!("/api/streams/ended?number={number}")).await;
    assert_eq!(
        (&stream["id"], &stream["timeline"][0]["what"]),
        (&"ended".into(), &"request".into())
    );
    assert_eq!(proxy.ask_admin("DELETE", "/api/streams/ended").await.0, 202);
    proxy.logged("end", 3).await;
    drop(third);
}

#[tokio::test]
async fn watchers_have_places_and_give_them_back() {
    let upstream = upstream().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        watchers.push(Watcher::new(&proxy).await);
    }
    let (status, body) = proxy.admin("/api/live").await;
    assert_eq!(status, 429, "{body}");
    watchers.pop();
    until("there is a place", || async {
        let mut client = Client::connect(proxy.admin).await;
        client.send("GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        client.head().await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}
