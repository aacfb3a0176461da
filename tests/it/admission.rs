use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::harness::{Client, Proxy, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The connection gets this one answer of the proxy's own and then ends, by a FIN.
async fn is_refused(client: &mut Client, status: u16, what: &str) {
    let response = client.response().await;
    assert_eq!(response.status, status, "{what}: {response:?}");
    assert_eq!(response.field("connection"), Some("close"), "{what}");
    assert_eq!(response.field("content-type"), Some("application/json"), "{what}");
    assert_eq!(response.error().1, u64::from(status), "{what}");
    assert!(!client.ends().await, "{what}: the answer is followed by a FIN, not by a reset");
}

#[tokio::test]
async fn what_two_servers_could_read_in_two_ways_is_refused() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).listener("protocols = [\"http/1.1\"]").start().await;
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n");
    let get = |lines: &str| format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n");
    let cases = [
        ("both framings", post("Content-Length: 5\r\nTransfer-Encoding: chunked"), 400),
        ("both, the other way", post("Transfer-Encoding: chunked\r\nContent-Length: 5"), 400),
        ("two lengths", post("Content-Length: 5\r\nContent-Length: 6"), 400),
        ("two equal lengths", post("Content-Length: 5\r\nContent-Length: 5"), 400),
        ("a list of lengths", post("Content-Length: 5, 5"), 400),
        ("a length with a sign", post("Content-Length: +5"), 400),
        ("a negative length", post("Content-Length: -5"), 400),
        ("a length in hex", post("Content-Length: 0x5"), 400),
        ("an empty length", post("Content-Length:"), 400),
        ("a length beyond 64 bits", post("Content-Length: 18446744073709551616"), 400),
        ("another coding", post("Transfer-Encoding: gzip, chunked"), 400),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked"), 400),
        ("an empty coding", post("Transfer-Encoding: ,chunked"), 400),
        (
            "two codings in two lines",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
            400,
        ),
        ("a tab before the coding's end", post("Transfer-Encoding: \x0bchunked"), 400),
        ("identity", post("Transfer-Encoding: identity"), 400),
        (
            "a coding in HTTP/1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            400,
        ),
        ("a bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n".into(), 400),
        ("a bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".into(), 400),
        ("a bare LF as the last line", "GET / HTTP/1.1\r\nHost: a\r\n\n".into(), 400),
        ("a bare CR in a value", get("Host: a\r\nX: b\rc"), 400),
        ("a folded line", get("Host: a\r\nX: b\r\n c"), 400),
        ("a folded line at the start", get(" X: b\r\nHost: a"), 400),
        ("a space before the colon", get("Host: a\r\nX : b"), 400),
        ("a field without a name", get("Host: a\r\n: b"), 400),
        ("a field without a colon", get("Host: a\r\nX"), 400),
        ("a NUL in a value", get("Host: a\r\nX: b\0c"), 400),
        ("a NUL in a name", get("Host: a\r\nX\0: b"), 400),
        ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("no Host", get("X: b"), 400),
        ("two Hosts", get("Host: a\r\nHost: b"), 400),
        ("two equal Hosts", get("Host: a\r\nhost: a"), 400),
        ("a list of Hosts", get("Host: a, b"), 400),
        ("a Host with a path", get("Host: a/b"), 400),
        ("a Host with a user", get("Host: a@b"), 400),
        ("a Host with a space", get("Host: a b"), 400),
        ("a Host with a word for a port", get("Host: a:http"), 400),
        ("a Host in HTTP/1.0 that is none", "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n".into(), 400),
        ("a target that is no path", "GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("a target with a fragment", "GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("a target without an authority", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("a target of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        (
            "a target with a bad authority",
            "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n".into(),
            400,
        ),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".into(), 405),
        ("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("a version that there is not", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), 505),
        ("no version", "GET /\r\n\r\n".into(), 400),
        ("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03".into(), 400),
    ];
    for (what, request, status) in cases {
        let mut client = proxy.client().await;
        // A second request behind it, which nobody must ever take for one.
        client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        is_refused(&mut client, status, what).await;
    }
    assert_eq!(upstream.connections(), 0, "the upstream never hears of any of them");
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.text(), "ok", "and good requests go on");
}

#[tokio::test]
async fn unusual_but_lawful_heads_pass() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(30_000));
    for (what, request) in [
        ("empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("an IPv6 Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        ("no Host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
        (
            "a coding in capitals",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        ),
        ("bytes above ASCII in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n"),
        ("a method that we do not know", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a large head", &long),
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "ok"), "{what}: {response:?}");
    }
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_replaces_host() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).route("hosts = [\"right.example\"]").start().await;
    let mut client = proxy.client().await;
    client.send("GET http://Right.example:80/a?b HTTP/1.1\r\nHost: right.EXAMPLE\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200, "they differ in nothing that matters");
    let requests = upstream.requests();
    assert!(requests[0].starts_with("GET /a?b HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[0].contains("Host: Right.example:80\r\n"), "{requests:?}");
    assert!(!requests[0].contains("EXAMPLE"), "nothing is left of the other: {requests:?}");
    client.send("GET http://right.example/ HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200, "HTTP/1.0 needs no Host");
    let mut client = proxy.client().await;
    client.send("GET http://right.example/ HTTP/1.1\r\nHost: wrong.example\r\n\r\n").await;
    is_refused(&mut client, 400, "somebody in between may have routed it by the other").await;
}

#[tokio::test]
async fn a_route_takes_a_path_however_it_is_encoded() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .tables("[routes.own]\npaths = [\"/admin/\"]\nrespond = { status = 403, body = \"\" }")
        .start()
        .await;
    let mut client = proxy.client().await;
    for (path, status) in [
        ("/admin/x", 403),
        ("/%61dmin/x", 403),
        ("/%61%64%6D%69%6e/x", 403),
        ("/Admin/x", 200),
        ("/%2561dmin/x", 200),
        ("/admin%2Fx", 200),
        ("//admin/x", 200),
    ] {
        client.get(path).await;
        assert_eq!(client.response().await.status, status, "{path}");
    }
    let requests = upstream.requests();
    assert!(requests[1].starts_with("GET /%2561dmin/x "), "it goes on as it came: {requests:?}");
}

#[tokio::test]
async fn a_route_takes_a_path_however_its_own_is_encoded() {
    let upstream = Upstream::answering(OK).await;
    let own = "[routes.own]\npaths = [\"/%7Euser/\", \"=/org%2Fsecret\", \"=/m:gen\", \"/a%20b/\"]\n\
               respond = { status = 403, body = \"\" }";
    let proxy = Proxy::to(upstream.address).tables(own).start().await;
    let mut client = proxy.client().await;
    for (path, status) in [
        ("/~user/x", 403),
        ("/%7euser/x", 403),
        ("/org%2Fsecret", 403),
        ("/org%2fsecret", 403),
        ("/m:gen", 403),
        ("/m%3Agen", 403),
        ("/m%3agen", 403),
        ("/a%20b/", 403),
        ("/org/secret", 200),
    ] {
        client.get(path).await;
        assert_eq!(client.response().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_proxy_that_names_nobody_does_not_stand_in_for_him() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .server("workers = 2\ntrusted_proxies = [\"::ffff:127.0.0.1\"]")
        .route("access.allow = [\"127.0.0.0/8\"]")
        .start()
        .await;
    let mut client = proxy.client().await;
    for (claim, status) in [
        ("unknown", 403),
        ("192.0.2.1, x", 403),
        ("192.0.2.1:4711", 403),
        ("127.0.0.9:4711", 200),
        ("unknown, 127.0.0.9", 200),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {claim}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{claim}");
    }
}

#[tokio::test]
async fn a_route_takes_a_host_however_it_is_written() {
    let upstream = Upstream::answering(OK).await;
    let own = "[routes.own]\nhosts = [\"admin.example\", \"*.inner.example\", \"[::1]\"]\n\
               respond = { status = 403, body = \"\" }";
    let proxy = Proxy::to(upstream.address).tables(own).start().await;
    let mut client = proxy.client().await;
    for (host, status) in [
        ("admin.example", 403),
        ("Admin.Example.", 403),
        ("admin.example.:80", 403),
        ("a.inner.example.", 403),
        ("[::1]:80", 403),
        ("[0:0:0::1]", 403),
        ("other.example.", 200),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.response().await.status, status, "{host}");
    }
    let requests = upstream.requests();
    assert!(requests[0].contains("Host: other.example.\r\n"), "as it came: {requests:?}");
}

#[tokio::test]
async fn a_head_above_the_limit_is_431_whether_it_ends_or_not() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).listener("max_header_size = \"1KiB\"").start().await;
    let head = |size: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4))
    };
    let mut client = proxy.client().await;
    client.send(head(1024)).await;
    assert_eq!(client.response().await.status, 200, "at the limit");

    let mut client = proxy.client().await;
    client.send(head(1025)).await;
    is_refused(&mut client, 431, "one byte more, in one piece").await;

    let mut client = proxy.client().await;
    client.send(&head(4096)[..4000]).await;
    is_refused(&mut client, 431, "a head that does not end").await;

    let mut client = proxy.client().await;
    client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2000))).await;
    is_refused(&mut client, 431, "a long target").await;
    assert_eq!(upstream.connections(), 1, "only the first was passed on");
}

#[tokio::test]
async fn too_many_fields_are_431() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let head = |fields: usize| {
        let more = (1..fields).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n")
    };
    let mut client = proxy.client().await;
    client.send(head(128)).await;
    assert_eq!(client.response().await.status, 200, "128 fields are not too many");
    client.send(head(129)).await;
    is_refused(&mut client, 431, "129 fields").await;
}

#[tokio::test]
async fn a_head_that_drips_longer_than_the_deadline_is_408() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).listener("header_timeout = \"300ms\"").start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    let (mut read, mut write) = client.stream.into_split();
    let dripping = tokio::spawn(async move {
        // Each byte comes long before the deadline; only their sum is late.
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer);
    soon("an answer and the end", read).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.contains("\"type\":\"header_timeout\""), "{answer}");
    soon("the connection to be closed for writing, too", dripping).await.unwrap();
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn half_a_head_and_then_silence_is_408() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).listener("header_timeout = \"100ms\"").start().await;
    let mut client = proxy.client().await;
    client.send("GET / HT").await;
    is_refused(&mut client, 408, "half a head").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).listener("keepalive_timeout = \"100ms\"").start().await;
    let mut fresh = proxy.client().await;
    assert!(!fresh.ends().await, "before a request: a FIN and no byte");
    let mut used = proxy.client().await;
    used.get("/").await;
    let response = used.response().await;
    assert_eq!(response.field("connection"), None, "it is kept: {response:?}");
    assert!(!used.ends().await, "after a request: a FIN and no byte");
    proxy.metric_becomes(&["longwire_connections_active{", "http/1.1"], 0.0).await;
    assert_eq!(proxy.sum(&["longwire_requests_total{"]).await, 1.0, "silence is not a request");
}

#[tokio::test]
async fn a_running_exchange_is_not_an_idle_connection() {
    let finish = Arc::new(Notify::new());
    let go = Arc::clone(&finish);
    let upstream = Upstream::sse(move |mut upstream| {
        let go = Arc::clone(&go);
        async move {
            soon("the word to finish", go.notified()).await;
            upstream.chunk("data: late\n\n").await;
            upstream.last_chunk().await;
            upstream.hold().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address)
        .listener("keepalive_timeout = \"100ms\"\nheader_timeout = \"100ms\"")
        .route("sse.heartbeat = \"100ms\"")
        .start()
        .await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    for _ in 0..5 {
        assert_eq!(client.text().await, ": keep-alive\n", "five times the timeout");
    }
    finish.notify_one();
    while client.text().await == ": keep-alive\n" {}
    assert_eq!(client.text().await, "", "the last chunk");
}

#[tokio::test]
async fn a_bad_chunk_is_400_and_the_upstream_gets_no_whole_request() {
    for bad in ["x\r\n", "-1\r\n", "5\nhello\r\n", "2\r\nabc\r\n", "1;a\nb\r\n", "0\r\nX: 1\n\r\n"]
    {
        let seen = Arc::new(Notify::new());
        let begun = Arc::clone(&seen);
        let upstream = Upstream::serve(move |mut upstream| {
            let begun = Arc::clone(&begun);
            async move {
                upstream.head().await;
                assert_eq!(upstream.data().await.as_deref(), Some(&b"good"[..]));
                begun.notify_one();
                while let Some(chunk) = upstream.data().await {
                    assert!(!chunk.is_empty(), "the request must not look complete");
                }
            }
        })
        .await;
        let mut proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n";
        client.send(head).await;
        soon("the good part to arrive", seen.notified()).await;
        client.send(bad).await;
        is_refused(&mut client, 400, bad).await;
        assert_eq!(proxy.reason().await, "protocol_error", "{bad:?}");
        assert_eq!(proxy.log("end")[0]["status"], 400, "{bad:?}");
        until("the upstream connection is closed", || async { upstream.open() == 0 }).await;
        assert_eq!(proxy.sum(&["longwire_upstream_connections{"]).await, 0.0, "nor kept");
        assert!(proxy.is_running());
    }
}

#[tokio::test]
async fn a_bad_chunk_after_the_response_has_begun_cuts_it() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        upstream.chunk("begun").await;
        upstream.closed().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.text().await, "begun");
    client.send("bad\n").await;
    assert_eq!(client.chunk().await, None, "no last chunk: it was cut");
    assert_eq!(proxy.reason().await, "protocol_error");
}

#[tokio::test]
async fn endless_chunk_extensions_and_trailers_are_refused() {
    for part in [
        "1;x\r\na\r\n".to_owned() + &format!("1;{}\r\na\r\n", "x".repeat(4000)).repeat(5),
        format!("0\r\n{}", format!("X: {}\r\n", "x".repeat(4000)).repeat(5)),
    ] {
        // Whether it gets the head depends on what of the body came with that.
        let upstream = Upstream::serve(|mut upstream| async move {
            upstream.closed().await;
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send(&part).await;
        is_refused(&mut client, 400, &part[..10]).await;
    }
}

#[tokio::test]
async fn what_no_route_takes_is_404_and_the_connection_stays() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).route("paths = [\"/v1/\"]").start().await;
    let mut client = proxy.client().await;
    client.get("/v2/").await;
    let response = client.response().await;
    assert_eq!(response.status, 404);
    assert_eq!(response.error(), ("no_route".into(), 404));
    client.get("/v1/").await;
    assert_eq!(client.response().await.text(), "ok", "on the same connection");
    client.send("HEAD /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.response_to_head().await;
    assert_eq!(head.status, 404);
    assert!(head.field("content-length").is_some_and(|length| length != "0"), "{head:?}");
    client.post("/v2/", b"GET /v1/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.field("connection")), (404, None), "it is read over");
    client.post("/v2/", &[b'x'; 100_000]).await;
    is_refused(&mut client, 404, "a long body that nobody reads").await;
    assert_eq!(upstream.requests().len(), 1, "{:?}", upstream.requests());
    let ends = proxy.logged("end", 5).await;
    assert_eq!((&ends[0]["route"], &ends[0]["status"]), (&"".into(), &404.into()));
    assert_eq!(ends[0]["connection"], "none");
    assert_eq!(proxy.metric(&["longwire_requests_total{", "\"(none)\"", "\"404\""]).await, 4.0);
}

#[tokio::test]
async fn a_route_can_answer_by_itself() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .tables(
            "[routes.health]\npaths = [\"=/healthz\"]\n\
             respond = { status = 200, body = \"fine\\n\" }\n\
             [routes.empty]\npaths = [\"=/empty\"]\nrespond = { status = 204, body = \"\" }\n\
             [routes.gone]\npaths = [\"=/gone\"]\nrespond = { status = 503, body = \"later\" }",
        )
        .start()
        .await;
    let mut client = proxy.client().await;
    client.get("/healthz?x").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "fine\n"));
    assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));
    assert!(response.field("date").is_some() && response.field("x-request-id").is_some());
    client.send("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.response_to_head().await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
    client.get("/empty").await;
    let empty = client.response().await;
    assert_eq!((empty.status, empty.field("content-length")), (204, None));
    client.get("/gone").await;
    assert_eq!(client.response().await.text(), "later");
    assert_eq!(upstream.connections(), 0);
    client.get("/healthz/").await;
    assert_eq!(client.response().await.text(), "ok", "another path goes on to the upstream");
    let ends = proxy.logged("end", 5).await;
    let routes: Vec<_> = ends.iter().map(|end| end["route"].as_str().unwrap()).collect();
    assert_eq!(routes, ["health", "health", "empty", "gone", "all"]);
}

#[tokio::test]
async fn an_http_1_0_client_that_keeps_alive_is_told_so_by_our_own_answers_too() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .tables("[routes.own]\npaths = [\"=/own\"]\nrespond = { status = 200, body = \"own\" }")
        .start()
        .await;
    let mut client = proxy.client().await;
    client.send("GET /own HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.text(), "own");
    assert_eq!(
        response.field("connection"),
        Some("keep-alive"),
        "without it the client believes that we close: {response:?}"
    );
}

#[tokio::test]
async fn the_most_specific_route_takes_the_request() {
    let mut tables = String::new();
    for (name, rule) in [
        ("v1", "paths = [\"/v1/\"]"),
        ("models", "paths = [\"=/v1/models\"]"),
        ("post", "paths = [\"/v1/\"]\nmethods = [\"POST\"]"),
        ("below", "hosts = [\"*.example.com\"]"),
        ("chat", "hosts = [\"chat.example.com\"]"),
        ("deep", "hosts = [\"chat.example.com\"]\npaths = [\"/v1/\"]"),
        ("elsewhere", "paths = [\"/v1/inner\"]\nlisteners = [\"other\"]"),
    ] {
        let answer = format!("respond = {{ status = 200, body = \"{name}\" }}");
        tables.push_str(&format!("[routes.{name}]\n{rule}\n{answer}\n"));
    }
    tables.push_str("[listeners.other]\nbind = [\"127.0.0.1:0\"]\n");
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall").await;
    let proxy = Proxy::to(upstream.address).tables(&tables).start().await;
    let listening = proxy.logged("listening", 2).await;
    let address = |name: &str| {
        let line = listening.iter().find(|line| line["listener"] == name).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    };
    for (listener, host, method, path, expected) in [
        ("web", "a", "GET", "/", "all"),
        ("web", "a", "GET", "/v1", "all"),
        ("web", "a", "GET", "/v1/x?y=/v1/models", "v1"),
        ("web", "a", "GET", "/v1/models", "models"),
        ("web", "a", "GET", "/v1/models?page=2", "models"),
        ("web", "a", "POST", "/v1/models", "models"),
        ("web", "a", "POST", "/v1/models/x", "post"),
        ("web", "x.example.com", "GET", "/v1/models", "below"),
        ("web", "x.y.EXAMPLE.com:8080", "GET", "/", "below"),
        ("web", "example.com", "GET", "/", "all"),
        ("web", "badexample.com", "GET", "/", "all"),
        ("web", "CHAT.example.com:1", "GET", "/", "chat"),
        ("web", "chat.example.com", "GET", "/v1/x", "deep"),
        ("web", "a", "GET", "/v1/inner", "v1"),
        ("other", "a", "GET", "/v1/inner", "elsewhere"),
        ("other", "a", "POST", "/v1/inner", "elsewhere"),
    ] {
        let mut client = Client::connect(address(listener)).await;
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let found = client.response().await;
        assert_eq!(found.text(), expected, "{listener}: {method} {host} {path}");
    }
}
