use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Peer, Proxy, until};

/// The room and its page come from two ports; the browser sees one origin, as `origins` wants it.
const PAGE: &str = "paths = [\"=/\", \"=/page.mjs\"]";

#[tokio::test]
async fn three_pages_talk_in_a_room_until_its_server_dies() {
    let room = Peer::serve(&["node", "websocket-room/server.mjs"]).await;
    let page = &room.saw("page", 1).await[0]["port"];
    let proxy = Proxy::to(room.address)
        .route("websocket.ping = \"100ms\"")
        .tables(&format!("[routes.page]\n{PAGE}\nupstream = \"http://127.0.0.1:{page}\""))
        .start()
        .await;
    let measured = Peer::run(&["node", "websocket-room/browser.mjs", &proxy.url()]).await;
    assert_eq!((&measured["messages"], &measured["left"]), (&json!(120), &json!(["cleo"])));

    // The page that left did so with 1001, as browsers do who go elsewhere while they close.
    let closes = room.events("close");
    assert_eq!(closes.len(), 1, "{closes:?}");
    assert_eq!(closes[0]["name"], "cleo");
    assert_eq!(closes[0]["code"], 1001, "{closes:?}");
    assert_eq!(room.events("error"), Vec::<Value>::new());

    let ends = websocket_ends(&proxy, 3).await;
    let of = |facts: [Value; 3]| {
        let names = ["reason", "close_code", "closed_by"];
        let is_one =
            |end: &&Value| names.iter().zip(&facts).all(|(name, fact)| end[*name] == *fact);
        ends.iter().filter(is_one).count()
    };
    assert_eq!(of([json!("completed"), closes[0]["code"].clone(), json!("client")]), 1, "{ends:?}");
    assert_eq!(of([json!("truncated"), json!(1011), json!("proxy")]), 2, "{ends:?}");
    proxy
        .metric_becomes(&["longwire_streams_active", "kind=\"websocket\"", "route=\"all\""], 0.0)
        .await;
    let pings: u64 = ends.iter().map(|end| end["heartbeats"].as_u64().unwrap()).sum();
    assert!(pings > 0, "a page that is silent is pinged: {ends:?}");
}

#[tokio::test]
async fn gorilla_and_websockets_exchange_megabytes_between_pings() {
    let server = Peer::serve(&["websocket-go/server"]).await;
    let proxy = Proxy::to(server.address).route("websocket.ping = \"20ms\"").start().await;
    for (number, how) in [&["--expect-pings", "20"][..], &["--uncompressed"]].iter().enumerate() {
        let url = proxy.url();
        let command = [&["python", "websocket-go/client.py", &url, "--rounds", "1"], *how].concat();
        let began = Instant::now();
        let sent = Peer::run(&command).await;
        println!("{how:?}: {sent} in {:?}", began.elapsed());
        let closes = server.saw("close", number + 1).await;
        let seen = &closes[number];
        for fact in ["messages", "bytes", "sha256"] {
            assert_eq!(seen[fact], sent[fact], "{fact}: {seen} {sent}");
        }
        assert!(seen["pings"].as_u64() > Some(20), "the server is pinged too: {seen}");
        assert_eq!(seen["error"], "websocket: close 1000 (normal)");
    }
    for end in websocket_ends(&proxy, 2).await {
        assert_eq!(end["reason"], "completed", "{end}");
    }
}

#[tokio::test]
async fn forty_cases_of_the_conformance_table_are_the_same_or_stricter() {
    let binary = env!("CARGO_BIN_EXE_longwire");
    let conformance = ["python", "websocket-conformance/conformance.py", "--longwire", binary];
    let counts = Peer::run(&[&conformance[..], &["--quick", "--deadline", "50"]].concat()).await;
    assert!(counts["cases"].as_u64() >= Some(40), "{counts}");
    assert_eq!(counts["different"], 0, "{counts}");
}

#[tokio::test]
async fn a_peer_that_was_stopped_is_found_within_ping_and_pong_timeout() {
    let server = Peer::serve(&["node", "websocket-conformance/echo-ws.mjs"]).await;
    let rules = "websocket = { ping = \"500ms\", pong_timeout = \"1s\" }";
    let proxy = Proxy::to(server.address).route(rules).start().await;
    let url = proxy.url();
    let mut client = Peer::program(&["node", "websocket-silent/client.mjs", &url])
        .args(["--silent-ms", "20000"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    proxy.logged("open", 1).await;
    let pid = client.id().unwrap().to_string();
    let kill = std::process::Command::new("kill").args(["-STOP", &pid]).status();
    assert!(kill.unwrap().success());
    let stopped = Instant::now();
    let end = websocket_ends(&proxy, 1).await.remove(0);
    let took = stopped.elapsed();
    assert_eq!(end["reason"], "pong_timeout", "{end}");
    // Its time to close is 3 s, which it does not use either.
    assert!(took < std::time::Duration::from_secs(6), "found after {took:?}");
    let missed = ["longwire_websocket_missed_pongs_total", "\"client\"", "\"all\""];
    assert_eq!(proxy.metric(&missed).await, 1.0);
    client.kill().await.unwrap();
}

#[tokio::test]
#[ignore = "takes two minutes: make soak"]
async fn a_silent_websocket_lives_for_two_minutes() {
    let server = Peer::serve(&["node", "websocket-conformance/echo-ws.mjs"]).await;
    let proxy = Proxy::to(server.address).route("websocket.ping = \"5s\"").start().await;
    let mut client = Peer::program(&["node", "websocket-silent/client.mjs", &proxy.url()])
        .args(["--silent-ms", "125000", "--deadline-ms", "150000"])
        .spawn()
        .unwrap();
    assert!(client.wait().await.unwrap().success());
    let end = websocket_ends(&proxy, 1).await.remove(0);
    assert_eq!(end["reason"], "completed", "{end}");
    // Each side every five seconds.
    assert!(end["heartbeats"].as_u64() >= Some(44), "{end}");
}

/// The log lines of WebSockets that have ended, once there are `count`.
async fn websocket_ends(proxy: &Proxy, count: usize) -> Vec<Value> {
    let ends = || -> Vec<Value> {
        proxy.log("end").into_iter().filter(|end| end["kind"] == "websocket").collect()
    };
    until(&format!("{count} WebSockets have ended"), || async { ends().len() >= count }).await;
    ends()
}
