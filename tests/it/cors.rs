use crate::harness::{Client, Proxy, Response, SSE_HEAD, Upstream};

/// What Chromium sends before a script of https://app.example.com may post JSON with a key.
const PREFLIGHT: &str = "OPTIONS /v1/chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive\r\n\
    Accept: */*\r\nAccess-Control-Request-Method: POST\r\n\
    Access-Control-Request-Headers: authorization,content-type\r\n\
    Origin: https://app.example.com\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\n\
    Sec-Fetch-Dest: empty\r\nReferer: https://app.example.com/\r\n\r\n";

const PAGE: &str = "Origin: https://app.example.com\r\n";
const CORS: &str = "cors.origins = [\"https://app.example.com\"]";
const KEY: &str = "auth = { type = \"api_key\", keys = [{ name = \"web\", sha256 = \
    \"be2974546978e3739e6d6da85c4be9f334ce32df2b9fd4b6ff1b55c0d57e9d44\" }] }";

const OK: &str = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\
    access-control-allow-credentials: true\r\nContent-Length: 2\r\n\r\nok";

async fn get(client: &mut Client, fields: &str) -> Response {
    client.send(format!("GET /v1/chat HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).await;
    client.response().await
}

/// Its fields about CORS, and `Vary`.
fn about(response: &Response) -> Vec<&str> {
    let is_about = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("access-control-") || line.starts_with("vary:")
    };
    response.head.lines().filter(is_about).collect()
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_is_asked_who_they_are() {
    let upstream = Upstream::answering(OK).await;
    let lines = format!("methods = [\"GET\", \"POST\"]\n{CORS}\n{KEY}");
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    let mut client = proxy.client().await;
    client.send(PREFLIGHT).await;
    let response = client.response().await;
    assert_eq!((response.status, response.field("content-type")), (204, None));
    assert_eq!(
        about(&response),
        [
            "Access-Control-Allow-Methods: POST",
            "Access-Control-Allow-Headers: authorization, content-type",
            "Access-Control-Max-Age: 600",
            "Vary: Origin",
            "Access-Control-Allow-Origin: https://app.example.com",
        ]
    );
    assert_eq!(upstream.connections(), 0);
    let end = &proxy.logged("end", 1).await[0];
    assert_eq!(
        (&end["status"], &end["route"], &end["method"]),
        (&204.into(), &"all".into(), &"OPTIONS".into())
    );

    client.send(PREFLIGHT.replace("https://app", "https://evil")).await;
    let response = client.response().await;
    assert_eq!(response.error(), ("origin_not_allowed".to_owned(), 403));
    assert_eq!(about(&response), ["Vary: Origin"]);

    // On the same connection: what the preflight was about, and an OPTIONS that is none.
    let response = get(&mut client, &format!("{PAGE}Authorization: Bearer key-1\r\n")).await;
    assert_eq!(response.text(), "ok");
    client.send(format!("OPTIONS /v1/chat HTTP/1.1\r\nHost: test\r\n{PAGE}\r\n")).await;
    assert_eq!(client.response().await.error().0, "no_route", "OPTIONS is not in methods");
}

#[tokio::test]
async fn a_route_answers_preflights_about_its_own_requests_only() {
    let upstream = Upstream::answering(OK).await;
    let write = format!(
        "[routes.write]\nmethods = [\"POST\"]\nupstream = \"http://{}\"\n{KEY}",
        upstream.address
    );
    let lines = format!("{CORS}\ncors.methods = [\"GET\", \"DELETE\", \"POST\"]");
    let proxy = Proxy::to(upstream.address).route(&lines).tables(&write).start().await;
    let mut client = proxy.client().await;
    client.send(PREFLIGHT).await;
    let response = client.response().await;
    assert_eq!((response.status, about(&response)), (200, vec!["Vary: Accept"]), "as an OPTIONS");
    assert!(upstream.requests()[0].starts_with("OPTIONS /v1/chat "));
    client.send(PREFLIGHT.replace("Method: POST", "Method: DELETE")).await;
    let response = client.response().await;
    let allows = "Access-Control-Allow-Methods: DELETE";
    assert_eq!((response.status, about(&response)[0]), (204, allows), "and POST is not listed");
    client.send(PREFLIGHT.replace("Method: POST", "Method: PUT")).await;
    assert_eq!(client.response().await.error(), ("method_not_allowed".to_owned(), 403));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn every_answer_tells_the_page_that_it_may_read_it() {
    let upstream = Upstream::answering(OK).await;
    let lines = format!("{CORS}\ncors.expose = [\"x-request-id\"]\n{KEY}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone =
        format!("[routes.gone]\npaths = [\"/v1/gone\"]\nupstream = \"http://{gone}\"\n{CORS}");
    let proxy = Proxy::to(upstream.address).route(&lines).tables(&gone).start().await;
    let mut client = proxy.client().await;
    let allows = "Access-Control-Allow-Origin: https://app.example.com";
    let exposes = "Access-Control-Expose-Headers: x-request-id";

    let response = get(&mut client, &format!("{PAGE}Authorization: Bearer key-1\r\n")).await;
    assert_eq!(about(&response), ["Vary: Accept, Origin", allows, exposes]);
    let response = get(&mut client, "Authorization: Bearer key-1\r\n").await;
    assert_eq!(about(&response), ["Vary: Accept, Origin"], "not from a page");
    let response = get(&mut client, PAGE).await;
    assert_eq!((response.status, about(&response)), (401, vec!["Vary: Origin", allows, exposes]));
    let response = get(&mut client, "Origin: https://evil.test\r\n").await;
    assert_eq!((response.status, about(&response)), (401, vec!["Vary: Origin"]));
    client.send(format!("GET /v1/gone HTTP/1.1\r\nHost: test\r\n{PAGE}\r\n")).await;
    let response = client.response().await;
    assert_eq!((response.status, about(&response)), (502, vec!["Vary: Origin", allows]));
}

#[tokio::test]
async fn streams_tell_it_too_even_those_that_begin_before_the_upstream() {
    let allows = "Access-Control-Allow-Origin: https://app.example.com\r\n";
    let upstream = Upstream::serve(|mut conversation| async move {
        conversation.request().await;
        conversation.write(SSE_HEAD).await;
        conversation.chunk("data: a\n\n").await;
        conversation.hold().await;
    })
    .await;
    let silent = Upstream::serve(|mut conversation| async move { conversation.hold().await }).await;
    let early = format!("{CORS}\nsse.commit_after = \"50ms\"");
    for (upstream, lines) in [(&upstream, CORS), (&silent, &early)] {
        let proxy = Proxy::to(upstream.address).route(lines).start().await;
        let mut client = proxy.client().await;
        let accept = "Accept: text/event-stream\r\n";
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{accept}{PAGE}\r\n")).await;
        let head = client.head().await;
        assert!(head.contains(allows) && head.contains("Vary: Origin\r\n"), "{head}");
    }
}

#[tokio::test]
async fn without_cors_the_matter_is_the_upstreams() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send(PREFLIGHT).await;
    let response = client.response().await;
    let theirs = [
        "Access-Control-Allow-Origin: *",
        "Vary: Accept",
        "access-control-allow-credentials: true",
    ];
    assert_eq!((response.status, about(&response)), (200, theirs.to_vec()));
    assert!(upstream.requests()[0].starts_with("OPTIONS /v1/chat "));
}
