//! What a route refuses to have more of, what is said then, and that every place is given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::harness::{Client, Conversation, Peer, Proxy, Response, Upstream, soon, until};
use crate::websocket::{AGREE, ASK, Ws};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn limited(limit: &str) -> [&str; 2] {
    ["longwire_limited_total{", limit]
}

/// One request on a connection of its own.
async fn ask(proxy: &Proxy, path: &str) -> Response {
    let mut client = proxy.client().await;
    client.get(path).await;
    client.response().await
}

// === How many at once ===

/// Answers with a stream that is never ended.
async fn endless(mut upstream: Conversation) {
    while upstream.try_request().await.is_some() {
        upstream.write(HEAD).await;
        upstream.chunk("begun").await;
        upstream.hold().await;
    }
}

/// A stream that has begun, or the answer that says why not.
async fn begin(mut client: Client) -> Result<Client, Response> {
    client.get("/").await;
    let head = client.head().await;
    if head.starts_with("HTTP/1.1 200 ") {
        assert_eq!(client.text().await, "begun");
        return Ok(client);
    }
    Err(client.body_of(head, false).await)
}

#[tokio::test]
async fn a_client_gets_so_many_streams_and_another_one_has_its_own() {
    let upstream = Upstream::serve(endless).await;
    let proxy = Proxy::to(upstream.address).route("limits.streams_per_client = 2").start().await;
    let first = begin(proxy.client().await).await.unwrap();
    let _second = begin(proxy.client().await).await.unwrap();
    let refused = begin(proxy.client().await).await.err().unwrap();
    assert_eq!(refused.error(), ("too_many_streams".into(), 429));
    assert!(refused.head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{refused:?}");
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(refused.field("connection"), None, "it may ask again on the same connection");
    let other = Client::connect_from([127, 0, 0, 9], proxy.address).await;
    let _other = begin(other).await.expect("another address is another client");
    assert_eq!(upstream.requests().len(), 3, "the upstream never heard of the one too many");
    assert_eq!(proxy.metric(&limited("\"streams_per_client\"")).await, 1.0);
    let ends = proxy.logged("end", 1).await;
    assert_eq!((&ends[0]["status"], &ends[0]["route"]), (&429.into(), &"all".into()));
    assert_eq!((&ends[0]["reason"], &ends[0]["upstream"]), (&"completed".into(), &"".into()));
    drop(first);
    until("the place is free", || async { begin(proxy.client().await).await.is_ok() }).await;
}

#[tokio::test]
async fn a_route_that_is_full_says_so_to_everybody() {
    let upstream = Upstream::serve(endless).await;
    let proxy = Proxy::to(upstream.address)
        .route("limits.streams = 2\npaths = [\"/\"]")
        .tables("[routes.other]\nupstream = \"up\"\npaths = [\"/other\"]")
        .start()
        .await;
    let _first = begin(proxy.client().await).await.unwrap();
    let _second = begin(Client::connect_from([127, 0, 0, 9], proxy.address).await).await.unwrap();
    let refused = begin(Client::connect_from([127, 0, 0, 8], proxy.address).await).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.error(), ("route_full".into(), 503), "it is not the client's fault");
    assert_eq!(refused.field("retry-after"), Some("1"));
    let mut other = proxy.client().await;
    other.get("/other").await;
    assert!(other.head().await.starts_with("HTTP/1.1 200 "), "another route has its own limit");
    let of_all = ["longwire_limited_total{", "\"streams\"", "route=\"all\""];
    assert_eq!(proxy.metric(&of_all).await, 1.0);
    assert_eq!(proxy.sum(&["longwire_limited_total{"]).await, 1.0);
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_told_from_others_and_ipv6_by_its_network() {
    let upstream = Upstream::serve(endless).await;
    let proxy = Proxy::to(upstream.address)
        .server("workers = 2\ntrusted_proxies = [\"127.0.0.1\"]")
        .route("limits.streams_per_client = 1")
        .start()
        .await;
    let mut held = Vec::new();
    for (address, status) in [
        ("2001:db8:0:1::1", "200"),
        ("2001:db8:0:1:ffff::2", "429"),
        ("2001:db8:0:2::1", "200"),
        ("192.0.2.1", "200"),
        ("::ffff:192.0.2.1", "429"),
        ("192.0.2.2", "200"),
    ] {
        let mut client = proxy.client().await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n"))
            .await;
        assert_eq!(&client.head().await[9..12], status, "{address}");
        held.push(client);
    }
}

#[tokio::test]
async fn a_limit_of_streams_holds_under_a_crowd() {
    const LIMIT: usize = 5;
    let upstream = Upstream::serve(endless).await;
    let line = format!("limits = {{ streams = 100, streams_per_client = {LIMIT} }}");
    let proxy = Proxy::to(upstream.address).route(&line).start().await;
    for round in 0..5 {
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let client = proxy.client().await;
            crowd.spawn(begin(client));
        }
        let begun: Vec<_> = crowd.join_all().await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(begun.len(), LIMIT, "round {round}: exactly as many as there are places");
        drop(begun);
        until("the upstream's are closed, too", || async { upstream.open() == 0 }).await;
        proxy.logged("end", (round + 1) * 40).await;
    }
}

/// Goes on or ends as the path of its request says.
async fn by_path(mut upstream: Conversation) {
    while let Some(request) = upstream.try_request().await {
        match request.split(' ').nth(1).unwrap() {
            "/whole" => upstream.write(OK).await,
            "/hold" => {
                upstream.write(HEAD).await;
                // It has to outlive the deadlines of this route, until the client leaves.
                let ticking = async {
                    loop {
                        upstream.stream.write_all(b"1\r\n.\r\n").await?;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                };
                let _: std::io::Result<()> = ticking.await;
                return;
            }
            "/reset" => {
                upstream.write(HEAD).await;
                upstream.chunk("begun").await;
                return upstream.reset();
            }
            "/cut" => {
                upstream.write(HEAD).await;
                return upstream.chunk("begun").await;
            }
            "/mute" => {
                upstream.write(HEAD).await;
                upstream.chunk("begun").await;
                return upstream.hold().await;
            }
            "/chat" => {
                upstream.write(AGREE).await;
                return upstream.hold().await;
            }
            "/silent" => return upstream.hold().await,
            "/closed" => return,
            path => panic!("{path} is no path of this test"),
        }
    }
}

/// Makes an exchange that gets a place, and sees it to its end.
async fn end(proxy: &Proxy, how: &str) {
    let mut client = proxy.client().await;
    match how {
        "client leaves" => {
            client.get("/hold").await;
            client.head().await;
        }
        "client leaves before the answer" => client.get("/silent").await,
        "denied later" => {
            client.send(ASK.replace("Version: 13", "Version: 12")).await;
            assert_eq!(client.response().await.status, 426);
        }
        "body too long" => {
            client
                .send("POST /silent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            client.send(format!("3e8\r\n{}\r\n1\r\nx\r\n", "x".repeat(1000))).await;
            assert_eq!(client.response().await.status, 413);
        }
        "bad chunk" => {
            client
                .send("POST /hold HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx")
                .await;
            assert_eq!(client.response().await.status, 400);
        }
        "WebSocket closed by the client" => {
            let mut ws = Ws::ask(client, ASK).await;
            ws.write(crate::websocket::frame(0x88, [3, 232], ws.key)).await;
        }
        "WebSocket left by the client" => drop(Ws::ask(client, ASK).await),
        "WebSocket with a bad frame" => {
            let mut ws = Ws::ask(client, ASK).await;
            ws.write([0xFF; 8]).await;
        }
        path => {
            client.get(path).await;
            let response = client.response().await;
            let status = match path {
                "/silent" => 504,
                "/closed" => 502,
                _ => 200,
            };
            assert_eq!(
                (response.status, response.complete),
                (status, !matches!(path, "/reset" | "/cut" | "/mute")),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn every_way_to_end_gives_the_place_back() {
    let upstream = Upstream::serve(by_path).await;
    let proxy = Proxy::to(upstream.address)
        .route(
            "timeouts = { first_byte = \"300ms\", idle = \"300ms\" }\n\
             retry = { attempts = 0 }\n\
             limits = { streams = 2, streams_per_client = 2, max_request_body = \"1000B\" }",
        )
        .start()
        .await;
    let hold = async || {
        let mut client = proxy.client().await;
        client.get("/hold").await;
        client.head().await.starts_with("HTTP/1.1 200 ").then_some(client)
    };
    for how in [
        "/whole",
        "client leaves",
        "client leaves before the answer",
        "/reset",
        "/cut",
        "/mute",
        "/silent",
        "/closed",
        "denied later",
        "body too long",
        "bad chunk",
        "WebSocket closed by the client",
        "WebSocket left by the client",
        "WebSocket with a bad frame",
    ] {
        let before = proxy.log("end").len();
        let both = async { tokio::join!(end(&proxy, how), end(&proxy, how)) };
        soon(&format!("two exchanges to end: {how}"), both).await;
        proxy.logged("end", before + 2).await;
        let mut held = Vec::new();
        let since = Instant::now();
        while held.len() < 2 {
            assert!(since.elapsed() < Duration::from_secs(10), "a place is lost by: {how}");
            held.extend(hold().await);
        }
        assert!(hold().await.is_none(), "a place too much by: {how}");
        let before = proxy.log("end").len();
        drop(held);
        proxy.logged("end", before + 2).await;
    }
}

#[tokio::test]
async fn an_upstream_that_is_killed_gives_the_places_back() {
    let mut model = Peer::serve(&["node", "model-server/server.mjs", "--gap-ms", "100"]).await;
    let proxy = Proxy::to(model.address).route("limits.streams_per_client = 2").start().await;
    let begin = async || {
        let mut client = proxy.client().await;
        client.post("/v1/chat/completions", br#"{"stream":true}"#).await;
        let status = client.head().await[9..12].to_owned();
        (client, status)
    };
    let (first, second) = (begin().await, begin().await);
    assert_eq!((&*first.1, &*second.1), ("200", "200"));
    assert_eq!(begin().await.1, "429");
    model.kill().await;
    proxy.logged("end", 3).await;
    for _ in 0..5 {
        assert_eq!(begin().await.1, "502", "there is a place, and nobody to ask");
    }
}

// === How often ===

#[tokio::test]
async fn a_rate_is_told_in_every_answer_and_refuses_what_is_more() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .route("limits.requests_per_second = { rate = 0.1, burst = 3 }")
        .start()
        .await;
    let mut client = proxy.client().await;
    for (remaining, reset) in [(2, 10), (1, 20), (0, 30)] {
        client.post("/", b"question").await;
        let response = client.response().await;
        assert_eq!(response.text(), "ok");
        assert_eq!(response.field("ratelimit-policy"), Some("\"all\";q=3;w=30"));
        let expected = format!("\"all\";r={remaining};t={reset}");
        assert_eq!(response.field("ratelimit"), Some(&*expected), "{response:?}");
    }
    for _ in 0..3 {
        client.post("/", b"question").await;
        let response = client.response().await;
        assert_eq!(response.error(), ("rate_limited".into(), 429));
        assert_eq!(response.field("retry-after"), Some("10"), "rounded up");
        assert_eq!(response.field("ratelimit"), Some("\"all\";r=0;t=30"));
        assert_eq!(response.field("ratelimit-policy"), Some("\"all\";q=3;w=30"));
        assert_eq!(response.field("connection"), None, "a short body is read");
    }
    client.post("/", &vec![b'x'; 65 * 1024]).await;
    let response = client.response().await;
    assert_eq!((response.status, response.field("connection")), (429, Some("close")));
    assert_eq!(upstream.requests().len(), 3);
    assert_eq!(proxy.metric(&limited("\"rate\"")).await, 4.0);
    let mut other = Client::connect_from([127, 0, 0, 9], proxy.address).await;
    other.get("/").await;
    assert_eq!(other.response().await.status, 200, "another client has a rate of its own");
}

#[tokio::test]
async fn a_field_can_say_whose_rate_it_is() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .route(
            "limits.requests_per_second = { rate = 0.001, burst = 1, key = \"header:X-Tenant\" }",
        )
        .start()
        .await;
    let mut client = proxy.client().await;
    for (field, status) in [
        ("X-Tenant: a", 200),
        ("x-tenant: a", 429),
        ("X-Tenant: b", 200),
        ("X-Other: a", 200),
        ("X-Other: b", 429),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{field}");
    }
}

/// A key, and a rate that knows no pardon.
fn guarded(key: &str, burst: u32) -> String {
    format!(
        "auth = {{ type = \"api_key\", keys = [{{ name = \"web\", sha256 = \
         \"be2974546978e3739e6d6da85c4be9f334ce32df2b9fd4b6ff1b55c0d57e9d44\" }}] }}\n\
         limits.requests_per_second = {{ rate = 0.001, burst = {burst}, key = \"{key}\" }}"
    )
}

/// The status and what remains of the rate, for a request with that key, `key-1` being the good one.
async fn try_key(client: &mut Client, fields: &str, key: &str) -> (u16, Option<String>) {
    client
        .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}Authorization: Bearer {key}\r\n\r\n"))
        .await;
    let response = client.response().await;
    (response.status, response.field("ratelimit").map(str::to_owned))
}

#[tokio::test]
async fn a_rate_by_address_or_field_counts_credentials_that_do_not_do() {
    let upstream = Upstream::answering(OK).await;
    for (key, fields) in [("ip", ""), ("header:X-Tenant", "X-Tenant: a\r\n")] {
        let proxy = Proxy::to(upstream.address).route(&guarded(key, 3)).start().await;
        let mut client = proxy.client().await;
        for (what, status) in [("wrong", 401), ("wrong", 401), ("key-1", 200), ("key-1", 429)] {
            let (found, told) = try_key(&mut client, fields, what).await;
            assert_eq!(found, status, "{key}: {what}");
            assert!(told.is_some(), "every answer says where it stands");
        }
        assert_eq!(try_key(&mut client, fields, "wrong").await.0, 429, "it is not even looked at");
        assert_eq!(proxy.sum(&["longwire_auth_failures_total"]).await, 2.0);
    }
}

#[tokio::test]
async fn a_rate_by_who_asks_counts_wrong_credentials_for_the_address() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).route(&guarded("auth", 3)).start().await;
    let mut client = proxy.client().await;
    for (key, expected) in [
        ("key-1", (200, "r=2")),
        ("wrong", (401, "r=2")),
        ("wrong", (401, "r=1")),
        ("wrong", (401, "r=0")),
        ("wrong", (429, "r=0")),
        // Somebody else behind the same address.
        ("key-1", (200, "r=1")),
        ("wrong", (429, "r=0")),
    ] {
        let (status, told) = try_key(&mut client, "", key).await;
        let told = told.unwrap_or_default();
        assert!(status == expected.0 && told.contains(expected.1), "{key}: {status} {told}");
    }
    assert_eq!(proxy.sum(&["longwire_auth_failures_total"]).await, 5.0);
    assert_eq!(proxy.metric(&limited("\"rate\"")).await, 2.0);
    let mut other = Client::connect_from([127, 0, 0, 9], proxy.address).await;
    let (status, told) = try_key(&mut other, "", "key-1").await;
    assert_eq!(status, 200, "elsewhere the key goes on where it stood");
    assert!(told.unwrap().contains("r=0"));
}

#[tokio::test]
async fn a_handshake_is_told_the_rate_and_a_foreign_one_costs_nothing() {
    let upstream = Upstream::serve(by_path).await;
    let proxy = Proxy::to(upstream.address)
        .route(&format!("{}\nlimits.streams_per_client = 1", guarded("auth", 2)))
        .start()
        .await;
    let key = "Authorization: Bearer key-1\r\n";
    let ask = |fields: &str| ASK.replacen("\r\n", &format!("\r\n{key}{fields}"), 1);
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client.send(ask("Origin: http://evil.test\r\n")).await;
        assert_eq!(client.response().await.error(), ("origin_not_allowed".into(), 403));
    }
    let mut client = proxy.client().await;
    client.send(ask("")).await;
    let head = soon("the handshake", client.head()).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("RateLimit: \"all\";r=1;"), "{head}");
    assert!(head.contains("RateLimit-Policy: \"all\";q=2;"), "{head}");
}

#[tokio::test]
async fn a_crowd_gets_exactly_its_burst_and_then_its_rate() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .route("limits.requests_per_second = { rate = 20, burst = 15, key = \"ip\" }")
        .start()
        .await;
    let began = Instant::now();
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = proxy.client().await;
        crowd.spawn(async move {
            let mut passed = 0_u32;
            for _ in 0..60 {
                client.get("/").await;
                passed += u32::from(client.response().await.status == 200);
            }
            passed
        });
    }
    let passed: u32 = crowd.join_all().await.into_iter().sum();
    let most = 15.0 + began.elapsed().as_secs_f64() * 20.0;
    assert!(passed >= 15 && f64::from(passed) <= most, "{passed} of at most {most}");
    assert_eq!(upstream.requests().len(), passed as usize);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(ask(&proxy, "/").await.status, 200, "a request's worth has grown again");
}

// === How long ===

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_refused_at_once() {
    let upstream = Upstream::answering(OK).await;
    let proxy =
        Proxy::to(upstream.address).route("limits.max_request_body = \"1KiB\"").start().await;
    let mut client = proxy.client().await;
    client.post("/", &[b'x'; 1024]).await;
    assert_eq!(client.response().await.status, 200, "exactly as long as it may be");
    // If the rest were not read over, this would be the next request.
    let mut hidden = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    hidden.resize(1025, b'x');
    client.post("/", &hidden).await;
    let response = client.response().await;
    assert_eq!(response.error(), ("body_too_large".into(), 413));
    assert_eq!(response.field("connection"), None, "short enough to be read");
    client.get("/").await;
    assert_eq!(client.response().await.status, 200, "and the next request is found behind it");
    let last = upstream.requests().pop().unwrap();
    assert!(last.starts_with("GET / HTTP/1.1\r\n"), "{last}");
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\nx").await;
    assert_eq!(client.response().await.status, 413);
    assert!(!client.ends().await, "a body that does not come is not waited for");
    for lines in ["", "Expect: 100-continue\r\n"] {
        let mut client = proxy.client().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n";
        client.send(format!("{head}{lines}\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status, 413, "without a byte of the body: {lines}");
        assert_eq!(response.field("connection"), Some("close"));
        assert!(!client.ends().await);
    }
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(proxy.metric(&limited("\"body\"")).await, 4.0);
}

#[tokio::test]
async fn a_short_body_never_costs_the_connection() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .route(
            "paths = [\"/\"]\naccess.deny = [\"127.0.0.1\"]\n\
             cors = { origins = [\"*\"] }",
        )
        .tables(
            "[routes.asked]\npaths = [\"/asked\"]\nupstream = \"up\"\n\
             cors = { origins = [\"*\"] }\n\
             [routes.own]\npaths = [\"/own\"]\nrespond = { status = 200, body = \"own\" }\n\
             [routes.far]\nhosts = [\"far\"]\npaths = [\"/\"]\nrespond = { status = 200 }",
        )
        .start()
        .await;
    let mut client = proxy.client().await;
    let question = "Origin: http://a\r\nAccess-Control-Request-Method: GET\r\n";
    for (start, fields, status) in
        [("POST /", "", 403), ("POST /own", "", 200), ("OPTIONS /asked", question, 204)]
    {
        for (framing, body) in [
            ("", ""),
            ("Content-Length: 0\r\n", ""),
            ("Content-Length: 4\r\n", "body"),
            ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "4;x\r\nbody\r\n0\r\nX-Late: 1\r\n\r\n"),
        ] {
            let head = format!("{start} HTTP/1.1\r\nHost: a\r\n{fields}{framing}\r\n");
            for pieces in [vec![format!("{head}{body}")], vec![head.clone(), body.to_owned()]] {
                let whole = pieces.concat();
                for piece in pieces {
                    client.send(piece).await;
                }
                let response = client.response().await;
                assert_eq!(response.status, status, "{whole}");
                assert_eq!(response.field("connection"), None, "{whole}");
            }
        }
    }
    for body in ["x\r\n".to_owned(), format!("11000\r\n{}", "x".repeat(0x11000))] {
        let mut client = proxy.client().await;
        let head = "POST /own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}")).await;
        assert_eq!(client.response().await.status, 200);
        assert!(!client.ends().await, "what follows a bad or a long body is no request");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_where_it_gets_too_long() {
    let seen = Arc::new(Notify::new());
    let begun = Arc::clone(&seen);
    let upstream = Upstream::serve(move |mut upstream| {
        let begun = Arc::clone(&begun);
        async move {
            upstream.head().await;
            let mut length = 0;
            while let Some(chunk) = upstream.data().await {
                assert!(!chunk.is_empty(), "the request must not look complete");
                length += chunk.len();
                begun.notify_one();
            }
            assert!(length <= 1024, "{length} bytes went on");
        }
    })
    .await;
    let proxy =
        Proxy::to(upstream.address).route("limits.max_request_body = \"1KiB\"").start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send(format!("3e8\r\n{}\r\n", "x".repeat(1000))).await;
    soon("the first part to go on", seen.notified()).await;
    // Its end comes in the same piece.
    client.send(format!("19\r\n{}\r\n0\r\n\r\n", "x".repeat(25))).await;
    let response = client.response().await;
    assert_eq!(response.error(), ("body_too_large".into(), 413));
    assert!(response.text().contains("1024 bytes"), "{response:?}");
    assert_eq!(response.field("connection"), Some("close"));
    until("the upstream's connection is closed", || async { upstream.open() == 0 }).await;
    assert_eq!(proxy.reason().await, "limit");
    assert_eq!(proxy.log("end")[0]["status"], 413);
    assert_eq!(proxy.metric(&limited("\"body\"")).await, 1.0);
}

#[tokio::test]
async fn a_body_that_gets_too_long_under_an_answer_cuts_both() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream.write(HEAD).await;
        upstream.chunk("begun").await;
        upstream.closed().await;
    })
    .await;
    let proxy =
        Proxy::to(upstream.address).route("limits.max_request_body = \"1KiB\"").start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.text().await, "begun");
    client.send(format!("401\r\n{}\r\n", "x".repeat(1025))).await;
    assert_eq!(client.chunk().await, None, "no last chunk: it was cut");
    assert_eq!(proxy.reason().await, "limit");
}

// === How many wait ===

#[tokio::test]
async fn what_the_queue_turns_away_is_counted_as_limited() {
    let upstream = Upstream::serve(endless).await;
    let endpoint = format!("{{ url = \"http://{}\", max_streams = 1 }}", upstream.address);
    let proxy = Proxy::to_endpoints(&endpoint)
        .route("limits.queue = { size = 1, timeout = \"300ms\" }")
        .start()
        .await;
    let _open = begin(proxy.client().await).await.unwrap();
    let (first, second) = tokio::join!(ask(&proxy, "/"), ask(&proxy, "/"));
    let mut kinds = [first.error().0, second.error().0];
    kinds.sort();
    assert_eq!(kinds, ["queue_full", "queue_timeout"]);
    assert_eq!(proxy.metric(&limited("\"queue\"")).await, 2.0);
}

// === What the log says of all this ===

#[tokio::test]
async fn no_secret_of_a_request_is_ever_logged() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .route("limits.requests_per_second = { rate = 0.001, burst = 1 }")
        .log_level("trace")
        .start()
        .await;
    let secrets = "Authorization: Bearer sesame\r\nCookie: id=sesame\r\nX-Api-Key: sesame\r\n";
    for (start, status) in [
        ("GET /a?key=sesame HTTP/1.1\r\nHost: a", 200),
        ("GET /a?key=sesame HTTP/1.1\r\nHost: a", 429),
        ("GET http://a/a?key=sesame HTTP/1.1\r\nHost: a", 429),
        ("GET /a#sesame HTTP/1.1\r\nHost: a", 400),
        ("GET /a?sesame HTTP/1.1", 400),
        ("GET /a?sesame HTTP/1.1\r\nHost: a\r\nContent-Length: sesame", 400),
        ("GET /a?sesame HTTP/1.1\r\nHost: a\r\nX : sesame", 400),
        ("sesame", 400),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("{start}\r\n{secrets}\r\n")).await;
        assert_eq!(client.response().await.status, status, "{start}");
    }
    // What a failing upstream, another version and trace fields make of it.
    for fields in ["traceparent: sesame", "tracestate: a=sesame", "X-Request-Id: ses ame/sesame"] {
        let mut client = proxy.client().await;
        client.send(format!("GET /a?sesame HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, 429);
    }
    for method in ["GET", "POST"] {
        let url = format!("{}/a?key=sesame", proxy.url());
        let curl = ["curl", "-s", "--http2-prior-knowledge", "-H", "cookie: sesame", "-X", method];
        let output = soon("curl's end", Peer::program(&[&curl[..], &[&url]].concat()).output());
        assert!(output.await.unwrap().status.success());
    }
    proxy.logged("end", 11).await;
    let log = proxy.whole_log();
    assert!(log.contains("\"/a\""), "the path is there: {log}");
    assert!(!log.contains("sesame"), "{log}");
}
