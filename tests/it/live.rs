use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::harness::{Client, Conversation, Proxy, ProxyBuilder, SSE_HEAD, Upstream, soon, until};
use crate::peers::promtool;
use crate::websocket::{Ws, agreeing};

/// An upstream whose streams say what their request's path says, and whatever the client posts to
/// nobody; `/waits` is not answered, `/endless` never stops.
async fn upstream() -> Upstream {
    Upstream::serve(|mut upstream: Conversation| async move {
        let request = upstream.request().await;
        let path = request.split(' ').nth(1).unwrap();
        match path {
            "/waits" => upstream.hold().await,
            "/short" => upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await,
            "/fails" => drop(upstream),
            "/endless" => {
                upstream.write(SSE_HEAD).await;
                let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                while upstream.stream.write_all(piece.as_bytes()).await.is_ok() {}
            }
            _ => {
                upstream.write(SSE_HEAD).await;
                upstream.chunk(format!("data: {path}\n\n")).await;
                upstream.hold().await;
            }
        }
    })
    .await
}

fn proxy(upstream: &Upstream) -> ProxyBuilder {
    Proxy::to_endpoints(&format!("{{ url = \"http://{}\", name = \"gpu-a\" }}", upstream.address))
}

/// A client whose request has that id; nothing of its response is read.
pub async fn asks(proxy: &Proxy, path: &str, id: &str) -> Client {
    let mut client = proxy.client().await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Request-Id: {id}\r\n\r\n")).await;
    client
}

/// The same, once it has its first event.
pub async fn listens(proxy: &Proxy, path: &str, id: &str) -> Client {
    let mut client = asks(proxy, path, id).await;
    client.head().await;
    client.text().await;
    client
}

/// The rows of a page, by id.
async fn ids(proxy: &Proxy, path: &str) -> Vec<String> {
    let page = proxy.api(path).await;
    let rows = page["streams"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a stream is in that state.
pub async fn state_becomes(proxy: &Proxy, id: &str, state: &str) {
    until(&format!("{id} is {state}"), || async {
        let (status, body) = proxy.admin(&format!("/api/streams/{id}")).await;
        let row: Value = serde_json::from_str(&body).unwrap();
        status == 200 && row["state"] == state
    })
    .await;
}

#[tokio::test]
async fn answers_are_for_whoever_asks_and_for_nobody_else() {
    let proxy = Proxy::to("127.0.0.1:1".parse().unwrap()).start().await;
    for path in ["/", "/api/streams", "/api/config", "/api/nothing", "/metrics", "/readyz"] {
        let mut client = Client::connect(proxy.admin).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let head = client.head().await;
        for field in ["Cache-Control: no-store", "X-Content-Type-Options: nosniff"] {
            assert_eq!(head.matches(field).count(), 1, "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn a_stream_appears_moves_and_is_remembered_when_it_has_ended() {
    let upstream = Upstream::serve(|mut upstream: Conversation| async move {
        upstream.request().await;
        upstream.write(SSE_HEAD).await;
        upstream.chunk("data: a\n\n").await;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        upstream.chunk("data: b\n\ndata: c\n\n").await;
        upstream.hold().await;
    })
    .await;
    let proxy = proxy(&upstream).start().await;
    assert_eq!(proxy.api("/api/streams").await["total"], 0);
    let mut client = proxy.client().await;
    client
        .send("POST /v1 HTTP/1.1\r\nHost: test\r\nX-Request-Id: a-1\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    client.head().await;
    assert_eq!(client.text().await, "data: a\n\n");

    let page = proxy.api("/api/streams").await;
    assert_eq!((&page["total"], &page["matched"]), (&json!(1), &json!(1)));
    let now = page["now"].as_f64().unwrap();
    let row = page["streams"][0].clone();
    let started = row["started"].as_f64().unwrap();
    let number = |row: &Value, field: &str| row[field].as_f64().unwrap();
    assert!((now - started - number(&row, "age")).abs() < 0.1, "{page}");
    for (field, expected) in [
        ("id", json!("a-1")),
        ("route", json!("all")),
        ("upstream", json!("up")),
        ("endpoint", json!("gpu-a")),
        ("connection", json!("new")),
        ("kind", json!("sse")),
        ("principal", Value::Null),
        ("client", json!("127.0.0.x")),
        ("version", json!("1.1")),
        ("state", json!("streaming")),
        ("events_out", json!(1)),
        ("bytes_in", json!(5)),
        ("bytes_out", json!(9)),
        ("ended", Value::Null),
    ] {
        assert_eq!(row[field], expected, "{field} of {row}");
    }
    assert!(number(&row, "first_byte") < number(&row, "age"));

    assert_eq!(client.text().await, "data: b\n\ndata: c\n\n");
    let row = proxy.api("/api/streams/a-1").await;
    assert_eq!((&row["events_out"], &row["bytes_out"]), (&json!(3), &json!(27)));
    assert!((0.3..5.0).contains(&number(&row, "slowest_gap")), "{row}");
    assert!(number(&row, "since_client") < 0.4, "{row}");

    drop(client);
    until("it has left", || async { proxy.api("/api/streams").await["total"] == 0 }).await;
    let ended = proxy.api("/api/streams/ended").await["streams"][0].clone();
    assert_eq!((&ended["id"], &ended["events_out"]), (&json!("a-1"), &json!(3)));
    assert_eq!(ended["ended"]["reason"], "client_closed");
    assert_eq!(ended["ended"]["status"], 200);
    let at = ended["ended"]["at"].as_f64().unwrap();
    assert!((at - started - number(&ended, "age")).abs() < 0.01, "{ended}");
    let row = proxy.api("/api/streams/a-1").await;
    let steps: Vec<_> =
        row["timeline"].as_array().unwrap().iter().map(|step| &step["what"]).collect();
    assert_eq!(steps[0], "request");
    for what in ["connected", "sent", "head", "first_byte", "last_upstream", "ended"] {
        assert!(steps.iter().any(|step| *step == what), "{what} in {row}");
    }
    assert_eq!(row["timeline"].as_array().unwrap().last().unwrap()["reason"], "client_closed");
    assert_eq!(proxy.admin("/api/streams/a-2").await.0, 404);
}

#[tokio::test]
async fn rows_are_filtered_ordered_and_counted() {
    let upstream = upstream().await;
    let proxy = proxy(&upstream).start().await;
    let mut clients = Vec::new();
    for (path, id) in [("/a", "one"), ("/looooong", "two"), ("/long", "three")] {
        clients.push(listens(&proxy, path, id).await);
    }
    clients.push(asks(&proxy, "/waits", "four").await);
    until("all are there", || async { proxy.api("/api/streams").await["total"] == 4 }).await;
    for (query, expected) in [
        ("", "one two three four"),
        ("?sort=-bytes_out", "two three one four"),
        ("?sort=bytes_out&kind=sse&limit=2", "one three"),
        ("?sort=age", "four three two one"),
        ("?state=waiting", "four"),
        ("?kind=http", "four"),
        ("?q=O&sort=id", "four one two"),
        ("?endpoint=gpu-a&route=all&upstream=up&limit=1", "one"),
        ("?route=other", ""),
    ] {
        assert_eq!(
            ids(&proxy, &format!("/api/streams{query}")).await.join(" "),
            expected,
            "{query}"
        );
    }
    let page = proxy.api("/api/streams?kind=sse&limit=1").await;
    assert_eq!((&page["total"], &page["matched"]), (&json!(4), &json!(3)));
    for query in ["?sort=color", "?limit=0", "?kind=tcp", "?state=odd", "?x=1", "?reason=killed"] {
        let (status, body) = proxy.admin(&format!("/api/streams{query}")).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["error"]["type"]), (400, &json!("bad_request")), "{query}");
    }
    let routes = proxy.api("/api/routes").await;
    let expected = json!({ "routes": [{
        "name": "all", "hosts": [], "paths": ["/"], "methods": [], "upstream": "up",
        "active": { "sse": 3, "websocket": 0, "stream": 0, "http": 1 },
    }] });
    assert_eq!(routes, expected);
}

#[tokio::test]
async fn short_exchanges_are_remembered_only_if_they_failed() {
    let upstream = upstream().await;
    let proxy = proxy(&upstream).route("retry.attempts = 0").start().await;
    for (path, id, status) in [("/short", "good", 200), ("/fails", "bad", 502)] {
        let mut client = asks(&proxy, path, id).await;
        assert_eq!(client.response().await.status, status);
    }
    proxy.logged("end", 2).await;
    assert_eq!(ids(&proxy, "/api/streams/ended").await, ["bad"]);
    assert_eq!(ids(&proxy, "/api/streams/ended?reason=upstream_reset").await, ["bad"]);
    assert!(ids(&proxy, "/api/streams/ended?reason=killed").await.is_empty());
}

#[tokio::test]
async fn states() {
    let upstream = upstream().await;
    let drain = "workers = 2\ndrain = { grace = \"1m\" }";
    let proxy = proxy(&upstream).server(drain).start().await;
    let _waits = asks(&proxy, "/waits", "waits").await;
    let _flows = listens(&proxy, "/flows", "flows").await;
    let mut stalls = Client::connect_narrow(proxy.address).await;
    stalls.send("GET /endless HTTP/1.1\r\nHost: test\r\nX-Request-Id: stalls\r\n\r\n").await;
    state_becomes(&proxy, "waits", "waiting").await;
    state_becomes(&proxy, "flows", "streaming").await;
    state_becomes(&proxy, "stalls", "stalled").await;
    state_becomes(&proxy, "flows", "idle").await;
    proxy.signal("TERM");
    state_becomes(&proxy, "waits", "draining").await;
    state_becomes(&proxy, "flows", "draining").await;
    state_becomes(&proxy, "stalls", "stalled").await;
}

#[tokio::test]
async fn with_a_token_all_of_it_is_behind_it_and_addresses_are_whole() {
    let upstream = upstream().await;
    let proxy = proxy(&upstream).admin("token = \"s3cret\"").start().await;
    let _client = listens(&proxy, "/a", "one").await;
    for path in ["streams", "streams/ended", "streams/one", "upstreams", "routes", "config", "live"]
    {
        let head = format!("GET /api/{path} HTTP/1.1\r\nHost: proxy.internal");
        assert_eq!(proxy.admin_says(&head, "").await.0, 401, "{path}");
        assert_eq!(proxy.admin_says(&head, "s3cre").await.0, 401, "{path}");
    }
    let kill = "DELETE /api/streams/one HTTP/1.1\r\nHost: proxy.internal";
    assert_eq!(proxy.admin_says(kill, "").await.0, 401);
    let (status, body) =
        proxy.admin_says("GET /api/streams HTTP/1.1\r\nHost: proxy.internal", "s3cret").await;
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &page["streams"][0]["client"]), (200, &json!("127.0.0.1")));

    let (status, body) =
        proxy.admin_says("GET /api/config HTTP/1.1\r\nHost: proxy.internal", "s3cret").await;
    assert!(status == 200 && !body.contains("s3cret"), "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(page["config"]["admin"]["token"], "***");
    assert_eq!(page["config"]["routes"]["all"]["upstream"], "up");
}

#[tokio::test]
async fn without_one_names_that_anybody_can_give_this_machine_are_refused() {
    let upstream = upstream().await;
    let proxy = proxy(&upstream).start().await;
    let (status, _) = proxy.admin_says("GET /api/streams HTTP/1.1\r\nHost: evil.example", "").await;
    assert_eq!(status, 403);
    let (status, _) = proxy.admin_says("GET /metrics HTTP/1.1\r\nHost: evil.example", "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn endpoints_and_their_states() {
    let upstream = upstream().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = format!("{{ url = \"http://{}\", name = \"good\", weight = 3 }}", upstream.address);
    let more = format!(
        "{good}, {{ url = \"http://{dead}\", name = \"dead\" }}, \
         {{ url = \"http://name.invalid:1\", name = \"lost\", backup = true }}"
    );
    let health = "health.active = { path = \"/short\", interval = \"100ms\", unhealthy_after = 1 }\n\
                  balance = \"round_robin\"";
    let proxy = Proxy::to_endpoints(&more).upstream(health).start().await;
    let states = async |expected: [&str; 3]| {
        until(&format!("states are {expected:?}"), || async {
            let page = proxy.api("/api/upstreams").await;
            let endpoints = page["upstreams"][0]["endpoints"].as_array().unwrap().clone();
            endpoints.iter().map(|endpoint| endpoint["state"].as_str().unwrap()).eq(expected)
        })
        .await;
    };
    states(["up", "down", "unresolved"]).await;
    let _client = listens(&proxy, "/a", "one").await;
    let post = |action: &str| {
        format!("POST /api/upstreams/up/endpoints/good/{action} HTTP/1.1\r\nHost: localhost")
    };
    assert_eq!(proxy.admin_says(&post("drain"), "").await.0, 200);
    states(["drained", "down", "unresolved"]).await;
    let page = proxy.api("/api/upstreams").await;
    let up = &page["upstreams"][0];
    assert_eq!((&up["name"], &up["balance"]), (&json!("up"), &json!("round_robin")), "{up}");
    assert_eq!(up["queue_length"], 0);
    let good = &up["endpoints"][0];
    let expected = json!({
        "name": "good", "address": upstream.address.to_string(), "state": "drained", "streams": 1,
        "weight": 3, "backup": false, "requests_new": 1, "requests_reused": 0,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(good[field], *value, "{field} of {good}");
    }
    assert!(good["active"].as_i64().unwrap() >= 1, "{good}");
    assert_eq!(proxy.admin_says(&post("ready"), "").await.0, 200);
    states(["up", "down", "unresolved"]).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_is_ejected() {
    let upstream = upstream().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = format!("\"http://{dead}\", \"http://{}\"", upstream.address);
    let passive = "health.passive = { failures = 1, eject_for = \"1m\" }";
    let proxy = Proxy::to_endpoints(&endpoints).upstream(passive).start().await;
    until("it was tried", || async {
        let mut client = asks(&proxy, "/short", "a").await;
        client.response().await;
        let page = proxy.api("/api/upstreams").await;
        page["upstreams"][0]["endpoints"][0]["state"] == "ejected"
    })
    .await;
}

#[tokio::test]
async fn the_page_with_series_of_each_stream() {
    let upstream = upstream().await;
    let metrics = "[metrics.per_connection]\npath = \"/each\"\nmax_series = 2";
    let proxy = proxy(&upstream).tables(metrics).start().await;
    let mut clients = Vec::new();
    // Clients may choose their ids, and two may choose the same.
    for id in ["one", "one", "three"] {
        clients.push(listens(&proxy, "/a", id).await);
    }
    let _waits = asks(&proxy, "/waits", "four").await;
    state_becomes(&proxy, "four", "waiting").await;
    let (status, page) = proxy.admin("/each").await;
    assert_eq!(status, 200);
    assert_eq!(promtool(&page).await, (Some(0), String::new()));
    let labels = "stream=\"one\",route=\"all\",upstream=\"up\",endpoint=\"gpu-a\",kind=\"sse\"";
    assert!(
        page.contains(&format!("longwire_stream_bytes_total{{{labels},direction=\"out\"}} 10\n")),
        "{page}"
    );
    assert!(
        page.contains(&format!("longwire_stream_events_total{{{labels},direction=\"out\"}} 1\n"))
    );
    assert!(page.contains(&format!("longwire_stream_age_seconds{{{labels}}} ")));
    assert!(page.contains(&format!("longwire_stream_upstream_silence_seconds{{{labels}}} ")));
    let is_series = |line: &&str| line.starts_with("longwire_stream_age_seconds");
    assert_eq!(page.lines().filter(is_series).count(), 1, "two of one name would spoil it");
    assert_eq!(proxy.metric(&["longwire_per_connection_series_omitted"]).await, 1.0);

    clients.truncate(0);
    until("they have left", || async { proxy.api("/api/streams").await["total"] == 1 }).await;
    let (_, page) = proxy.admin("/each").await;
    assert!(page.lines().all(|line| line.starts_with('#')), "{page}");
    assert_eq!(proxy.metric(&["longwire_per_connection_series_omitted"]).await, 0.0);
}

#[tokio::test]
async fn a_websocket_counts_both_ways() {
    let upstream = agreeing(Ws::echo).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    for _ in 0..3 {
        client.send(crate::websocket::TEXT, "hello").await;
        soon("the echo", client.gets("hello")).await;
    }
    let row = &proxy.api("/api/streams?kind=websocket").await["streams"][0];
    assert_eq!((&row["events_in"], &row["events_out"]), (&json!(3), &json!(3)), "{row}");
    assert_eq!(row["state"], "streaming");
}
