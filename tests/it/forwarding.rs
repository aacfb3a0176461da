use crate::harness::{Proxy, ProxyBuilder, Response, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a request through a proxy to an upstream that answers with `response`; gives what the
/// upstream saw and what the client got.
async fn through(
    configure: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
    request: &str,
    response: &'static str,
) -> (String, Response) {
    let upstream = Upstream::answering(response).await;
    let proxy = configure(Proxy::to(upstream.address)).start().await;
    let mut client = proxy.client().await;
    client.send(request).await;
    let found = client.response().await;
    assert_eq!(upstream.requests().len(), 1, "{found:?}");
    (upstream.requests().remove(0), found)
}

async fn request_as_seen(request: &str) -> String {
    through(|proxy| proxy, request, OK).await.0
}

fn lines(head: &str) -> Vec<&str> {
    head.split("\r\n").skip(1).take_while(|line| !line.is_empty()).collect()
}

/// The values of all fields of that name.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    lines(head)
        .into_iter()
        .filter_map(|line| line.split_once(": "))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[track_caller]
fn assert_absent(head: &str, names: &[&str]) {
    for name in names {
        assert!(values(head, name).is_empty(), "{name} is there:\n{head}");
    }
}

#[tokio::test]
async fn fields_of_the_clients_connection_end_with_us() {
    let seen = request_as_seen(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private , ,x-other\r\n\
         Connection: close\r\nX-Private: 1\r\nX-OTHER: 2\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: x\r\nX-Public: 3\r\n\r\n",
    )
    .await;
    assert_absent(&seen, &["connection", "x-private", "x-other", "keep-alive", "proxy-connection"]);
    assert_absent(&seen, &["te", "trailer", "upgrade"]);
    assert_eq!(values(&seen, "x-public"), ["3"], "everything else passes");
}

#[tokio::test]
async fn connection_cannot_take_away_what_gives_a_request_its_meaning() {
    let seen = request_as_seen(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\
         Connection: Host, Content-Length, Content-Type, X-Forwarded-For, Via\r\n\r\nhello",
    )
    .await;
    assert_eq!(values(&seen, "host"), ["a"]);
    assert_eq!(values(&seen, "content-length"), ["5"]);
    assert_eq!(values(&seen, "content-type"), ["text/plain"]);
    assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"], "ours come after the cleaning");
    assert_eq!(values(&seen, "via"), ["1.1 longwire"]);
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
}

#[tokio::test]
async fn fields_of_the_upstreams_connection_end_with_us() {
    let (_, found) = through(
        |proxy| proxy,
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: X-Private, keep-alive, Content-Type\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\n\
         Content-Type: text/plain\r\nX-Public: 2\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    assert_absent(&found.head, &["connection", "x-private", "keep-alive", "proxy-connection"]);
    assert_absent(&found.head, &["trailer", "upgrade"]);
    assert_eq!(values(&found.head, "content-type"), ["text/plain"]);
    assert_eq!(values(&found.head, "x-public"), ["2"], "everything else passes");
    assert_eq!(found.text(), "ok");
}

#[tokio::test]
async fn the_upstream_learns_who_asked_and_for_what() {
    let seen = request_as_seen("GET / HTTP/1.1\r\nHost: chat.example:8080\r\n\r\n").await;
    assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["chat.example:8080"]);
    let element = "for=127.0.0.1;proto=http;host=\"chat.example:8080\"";
    assert_eq!(values(&seen, "forwarded"), [element]);
    assert_eq!(values(&seen, "via"), ["1.1 longwire"]);
}

/// What a proxy in front of us, or a forger, says about the client.
const CLAIMS: &str = "X-Forwarded-For: 203.0.113.7\r\nx-forwarded-for: 10.0.0.1\r\n\
                      X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n\
                      Forwarded: for=203.0.113.7;proto=https\r\n";

#[tokio::test]
async fn nobody_is_believed_unless_named() {
    for server in ["workers = 1", "workers = 1\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{CLAIMS}\r\n");
        let (seen, _) = through(|proxy| proxy.server(server), &request, OK).await;
        assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"], "{server}");
        assert_eq!(values(&seen, "x-forwarded-proto"), ["http"], "{server}");
        assert_eq!(values(&seen, "x-forwarded-host"), ["a"], "{server}");
        assert_eq!(values(&seen, "forwarded"), ["for=127.0.0.1;proto=http;host=\"a\""], "{server}");
        assert!(!seen.contains("203.0.113.7") && !seen.contains("10.0.0.1"), "{seen}");
    }
}

#[tokio::test]
async fn without_a_host_there_is_no_forwarded_host_to_be_forged() {
    for request in ["GET / HTTP/1.0\r\n", "GET / HTTP/1.1\r\nHost:\r\n"] {
        let seen = request_as_seen(&format!("{request}{CLAIMS}\r\n")).await;
        assert!(!seen.contains("public.example"), "the client's own claim went through:\n{seen}");
        assert!(!seen.contains("203.0.113.7"), "{seen}");
    }
}

#[tokio::test]
async fn a_trusted_proxys_word_is_kept_and_added_to() {
    let server = "workers = 1\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 fred, 1.1 lb\r\n{CLAIMS}\r\n");
    let (seen, _) = through(|proxy| proxy.server(server), &request, OK).await;
    assert_eq!(values(&seen, "x-forwarded-for"), ["203.0.113.7, 10.0.0.1, 127.0.0.1"]);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["public.example"]);
    let elements = "for=203.0.113.7;proto=https, for=127.0.0.1;proto=http;host=\"a\"";
    assert_eq!(values(&seen, "forwarded"), [elements]);
    assert_eq!(values(&seen, "via"), ["1.0 fred, 1.1 lb, 1.1 longwire"]);

    let (seen, _) =
        through(|proxy| proxy.server(server), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", OK).await;
    assert_eq!(values(&seen, "x-forwarded-proto"), ["http"], "it said nothing, so we do");
    assert_eq!(values(&seen, "x-forwarded-host"), ["a"]);
}

#[tokio::test]
async fn via_tells_both_sides_which_version_came_in() {
    for (asks, answers, up, down) in [
        ("1.1", "HTTP/1.1 200 OK\r\n", "1.1 longwire", "1.1 longwire"),
        ("1.0", "HTTP/1.0 200 OK\r\n", "1.0 longwire", "1.0 longwire"),
        ("1.0", "HTTP/1.1 200 OK\r\nVia: 1.1 cache\r\n", "1.0 longwire", "1.1 cache, 1.1 longwire"),
    ] {
        let answer: &'static str = format!("{answers}Content-Length: 2\r\n\r\nok").leak();
        let request = format!("GET / HTTP/{asks}\r\nHost: a\r\n\r\n");
        let (seen, found) = through(|proxy| proxy, &request, answer).await;
        assert_eq!(values(&seen, "via"), [up], "{asks} {answers}");
        assert_eq!(values(&found.head, "via"), [down], "{asks} {answers}");
        assert!(found.head.starts_with("HTTP/1.1 200 OK\r\n"), "our own version: {found:?}");
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made_up_and_is_the_same_everywhere() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
    )
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let long = "x".repeat(129);
    let mut ids = Vec::new();
    for (index, (theirs, kept)) in [
        ("X-Request-Id: Abc-1_2.3:4\r\n", true),
        ("", false),
        ("X-Request-Id: \r\n", false),
        ("X-Request-Id: two words\r\n", false),
        ("X-Request-Id: \"quoted\"\r\n", false),
        ("X-Request-Id: <script>\r\n", false),
        (&*format!("X-Request-Id: {long}\r\n"), false),
        (&*format!("X-Request-Id: {}\r\n", &long[1..]), true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{theirs}\r\n")).await;
        let found = client.response().await;
        let id = found.field("x-request-id").expect("a request id").to_owned();
        let same = theirs.trim_end().strip_prefix("X-Request-Id: ") == Some(&id);
        assert_eq!(same, kept, "{theirs:?} became {id:?}");
        assert!(!ids.contains(&id), "{id} is there twice: {ids:?}");
        let seen = upstream.requests();
        assert_eq!(values(seen.last().unwrap(), "x-request-id"), [&*id], "at the upstream");
        let (open, end) =
            (proxy.logged("open", index + 1).await, proxy.logged("end", index + 1).await);
        assert_eq!(open[index]["id"], *id, "in the line of the beginning");
        assert_eq!(end[index]["id"], *id, "in the line of the end");
        ids.push(id);
    }
}

#[tokio::test]
async fn the_upstreams_own_request_id_stands() {
    let answer = "HTTP/1.1 200 OK\r\nx-request-id: theirs\r\nContent-Length: 2\r\n\r\nok";
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: ours\r\n\r\n";
    let (_, found) = through(|proxy| proxy, request, answer).await;
    assert_eq!(values(&found.head, "x-request-id"), ["theirs"], "model servers send theirs");
}

#[tokio::test]
async fn the_upstream_sees_the_host_that_the_route_says() {
    let request = "GET / HTTP/1.1\r\nHost: Chat.Example:8080\r\n\r\n";
    for (rule, expected) in [
        ("", Some("Chat.Example:8080")),
        ("host_header = \"preserve\"", Some("Chat.Example:8080")),
        ("host_header = \"upstream\"", None),
        ("host_header = \"models.internal\"", Some("models.internal")),
    ] {
        let upstream = Upstream::answering(OK).await;
        let proxy = Proxy::to(upstream.address).route(rule).start().await;
        let mut client = proxy.client().await;
        client.send(request).await;
        client.response().await;
        let seen = upstream.requests().remove(0);
        let own = upstream.address.to_string();
        assert_eq!(values(&seen, "host"), [expected.unwrap_or(&own)], "{rule}");
        let original = values(&seen, "x-forwarded-host");
        assert_eq!(original, ["Chat.Example:8080"], "what was asked for is never lost: {rule}");
    }
}

#[tokio::test]
async fn a_client_without_host_reaches_an_upstream_that_needs_one() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "ok");
    let seen = upstream.requests().remove(0);
    assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
    assert_eq!(values(&seen, "host"), [upstream.address.to_string()], "HTTP/1.1 demands it");
}

#[tokio::test]
async fn the_prefix_is_stripped_from_the_path_and_from_nothing_else() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .route("paths = [\"/api\"]\nstrip_prefix = \"/api\"")
        .start()
        .await;
    let mut client = proxy.client().await;
    for (target, expected) in [
        ("/api/v1/chat?next=/api/v2", "/v1/chat?next=/api/v2"),
        ("/api", "/"),
        ("/api?x=1", "/?x=1"),
        ("/api/", "/"),
        ("/api/api/x", "/api/x"),
        ("http://a/api/v1", "/v1"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        client.response().await;
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.split(' ').nth(1), Some(expected), "{target}");
    }
    assert_eq!(
        proxy.logged("end", 1).await[0]["path"],
        "/api/v1/chat",
        "the log says what was asked"
    );
}

#[tokio::test]
async fn the_target_is_kept_byte_for_byte() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    for target in [
        "/?",
        "/a?b?c=d&&e&f=%20%2F%2f+;x='*'!()",
        "/a%2Fb/%7Ec//d/%65/?q=/../.",
        "//double",
        "/?url=http://x/y?z:@",
        "/?q={\"json\":[1,2]}|^`",
        "/\u{e4}?\u{20ac}",
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.response().await.status, 200, "{target}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.split(' ').nth(1), Some(target));
    }
    for end in proxy.logged("end", 7).await {
        assert!(!end["path"].as_str().unwrap().contains('?'), "queries hold secrets: {end}");
    }
}

#[tokio::test]
async fn names_keep_their_case_and_fields_their_order() {
    let (seen, found) = through(
        |proxy| proxy,
        "GET / HTTP/1.1\r\nHost: a\r\nx-lower: 1\r\nX-UPPER: 2\r\nX-Same: b\r\nx-MiXeD:  3 \t\r\n\
         X-Same: a\r\nX-Empty:\r\n\r\n",
        "HTTP/1.1 200 Fine By Me\r\nsErVeR: x\r\nSet-Cookie: a=1\r\nX-Z: 1\r\nSet-Cookie: b=2\r\n\
         Content-Length: 2\r\n\r\nok",
    )
    .await;
    let expected =
        ["x-lower: 1", "X-UPPER: 2", "X-Same: b", "x-MiXeD: 3", "X-Same: a", "X-Empty: "];
    let theirs: Vec<_> = lines(&seen)
        .into_iter()
        .filter(|line| expected.iter().any(|known| line.starts_with(known)))
        .collect();
    assert_eq!(theirs, expected, "{seen}");
    assert_eq!(
        lines(&found.head)[..4],
        ["sErVeR: x", "Set-Cookie: a=1", "X-Z: 1", "Set-Cookie: b=2"]
    );
    assert!(found.head.starts_with("HTTP/1.1 200 Fine By Me\r\n"), "{found:?}");
}

#[tokio::test]
async fn a_route_sets_and_removes_fields_both_ways() {
    let rules = "[routes.all.headers]\n\
        request_set = { \"Authorization\" = \"Bearer key\", \"X-New\" = \"1\" }\n\
        request_remove = [\"x-debug\", \"X-Forwarded-For\"]\n\
        response_set = { \"X-Frame-Options\" = \"DENY\", \"Cache-Control\" = \"no-store\" }\n\
        response_remove = [\"server\", \"X-Request-Id\"]";
    let (seen, found) = through(
        |proxy| proxy.route(rules),
        "GET / HTTP/1.1\r\nHost: a\r\nauthorization: theirs\r\nAuthorization: theirs\r\n\
         X-Debug: 1\r\nX-DEBUG: 2\r\nX-Kept: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nServer: uvicorn\r\ncache-control: public\r\nX-Kept: 4\r\n\
         Content-Length: 2\r\n\r\nok",
    )
    .await;
    assert_eq!(values(&seen, "authorization"), ["Bearer key"], "set replaces all");
    assert_eq!(values(&seen, "x-new"), ["1"]);
    assert_eq!(values(&seen, "x-kept"), ["3"]);
    assert_absent(&seen, &["x-debug", "x-forwarded-for"]);
    assert_eq!(values(&found.head, "x-frame-options"), ["DENY"]);
    assert_eq!(values(&found.head, "cache-control"), ["no-store"]);
    assert_eq!(values(&found.head, "x-kept"), ["4"]);
    assert_absent(&found.head, &["server", "x-request-id"]);
}

#[tokio::test]
async fn event_streams_tell_proxies_in_front_to_let_them_through() {
    for (theirs, expected) in [
        ("", "no-transform"),
        ("Cache-Control: no-cache\r\n", "no-cache, no-transform"),
        (
            "Cache-Control: no-cache\r\nCache-Control: private\r\n",
            "no-cache, private, no-transform",
        ),
        ("Cache-Control: No-Transform, no-cache\r\n", "No-Transform, no-cache"),
        ("X-Accel-Buffering: yes\r\n", "no-transform"),
    ] {
        let answer: &'static str = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n{theirs}\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        .leak();
        let (_, found) = through(|proxy| proxy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer).await;
        assert_eq!(values(&found.head, "cache-control"), [expected], "{theirs:?}");
        assert_eq!(values(&found.head, "x-accel-buffering"), ["no"], "{theirs:?}");
    }
    let (_, found) = through(|proxy| proxy, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", OK).await;
    assert_absent(&found.head, &["cache-control", "x-accel-buffering"]);
}

#[tokio::test]
async fn a_response_has_exactly_one_date() {
    let dated =
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok";
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (_, found) = through(|proxy| proxy, request, dated).await;
    assert_eq!(values(&found.head, "date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    let (_, found) = through(|proxy| proxy, request, OK).await;
    let date = values(&found.head, "date")[0];
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
}

#[tokio::test]
async fn a_request_without_a_body_gets_no_framing_and_an_empty_one_keeps_its_length() {
    let seen = request_as_seen("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_absent(&seen, &["content-length", "transfer-encoding"]);
    let seen = request_as_seen("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(values(&seen, "content-length"), ["0"]);
}
