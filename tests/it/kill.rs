use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Client, Conversation, Proxy, SSE_HEAD, Upstream, soon, until};
use crate::live::{asks, listens, state_becomes};
use crate::websocket::{Ws, agreeing, ended};

const CHAT_CHUNK: &str = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";

async fn endless() -> Upstream {
    Upstream::sse(|mut upstream: Conversation| async move {
        upstream.chunk(CHAT_CHUNK).await;
        upstream.hold().await;
    })
    .await
}

/// The answer to an operator who wants a stream to end.
async fn kill(proxy: &Proxy, id: &str) -> (u16, Value) {
    let head = format!("DELETE /api/streams/{id} HTTP/1.1\r\nHost: localhost");
    let (status, body) = proxy.admin_says(&head, "").await;
    (status, serde_json::from_str(&body).unwrap())
}

/// It is gone, for everybody.
async fn is_killed(proxy: &Proxy, upstream: &Upstream) {
    assert_eq!(proxy.reason().await, "killed");
    until("the upstream is left", || async { upstream.open() == 0 }).await;
    let page = proxy.api("/api/streams/ended?reason=killed").await;
    assert_eq!(page["streams"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(proxy.api("/api/streams").await["total"], 0);
}

#[tokio::test]
async fn the_client_of_an_event_stream_is_told_in_its_dialect() {
    let upstream = endless().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = listens(&proxy, "/v1/chat/completions", "a-1").await;
    let _other = listens(&proxy, "/v1/chat/completions", "a-2").await;
    assert_eq!(kill(&proxy, "a-1").await, (202, json!({ "killed": true })));
    let told = client.text().await;
    let told: Value = serde_json::from_str(told.strip_prefix("data: ").unwrap().trim()).unwrap();
    assert_eq!(told["error"]["type"], "killed", "{told}");
    assert_eq!(told["error"]["code"], 503, "{told}");
    assert!(client.chunk().await.is_none(), "no last chunk: it looks broken");
    assert_eq!(proxy.reason().await, "killed");
    assert_eq!(proxy.api("/api/streams").await["streams"][0]["id"], "a-2", "the other runs on");
    assert_eq!(proxy.metric(&["streams_closed_total", "kind=\"sse\"", "\"killed\""]).await, 1.0);
    assert_eq!(kill(&proxy, "a-1").await.0, 404, "it has ended");
    assert_eq!(kill(&proxy, "a-3").await.0, 404);
}

#[tokio::test]
async fn both_sides_of_a_websocket_get_1008() {
    let upstream = agreeing(|mut upstream| async move {
        assert_eq!(upstream.gets_close().await.0, 1008);
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    let page = proxy.api("/api/streams").await;
    let id = page["streams"][0]["id"].as_str().unwrap();
    assert_eq!(kill(&proxy, id).await.0, 202);
    let (code, reason) = client.gets_close().await;
    assert_eq!((code, reason.as_str()), (1008, "ended by an operator"));
    drop(client);
    let end = ended(&proxy, "killed").await;
    assert_eq!((&end["closed_by"], &end["close_code"]), (&json!("proxy"), &json!(1008)), "{end}");
}

#[tokio::test]
async fn an_http2_client_is_told_and_reset() {
    let upstream = endless().await;
    let listener = "protocols = [\"http/1.1\", \"h2c\"]";
    let proxy = Proxy::to(upstream.address).listener(listener).start().await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let task = tokio::spawn(connection);
    let request = http::Request::get("http://test/v1/chat/completions");
    let request = request.header("x-request-id", "a-1").body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    let mut body = soon("a response", response).await.unwrap().into_body();
    assert_eq!(soon("data", body.data()).await.unwrap().unwrap(), Bytes::from(CHAT_CHUNK));
    assert_eq!(proxy.api("/api/streams/a-1").await["version"], "2");
    assert_eq!(kill(&proxy, "a-1").await.0, 202);
    let told = soon("the error", body.data()).await.unwrap().unwrap();
    assert!(told.starts_with(b"data: {\"error\""), "{told:?}");
    let end = soon("the end", body.data()).await.unwrap();
    assert_eq!(end.unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
    is_killed(&proxy, &upstream).await;
    assert!(!task.is_finished(), "the connection goes on");
}

#[tokio::test]
async fn before_its_response_a_client_gets_503() {
    let upstream = Upstream::serve(|mut upstream: Conversation| async move {
        upstream.request().await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = asks(&proxy, "/", "a-1").await;
    until("it was asked", || async { upstream.requests().len() == 1 }).await;
    state_becomes(&proxy, "a-1", "waiting").await;
    assert_eq!(kill(&proxy, "a-1").await.0, 202);
    let response = client.response().await;
    assert_eq!((response.status, response.error().0.as_str()), (503, "killed"));
    is_killed(&proxy, &upstream).await;
}

#[tokio::test]
async fn a_client_that_has_stopped_reading_is_cut_at_once() {
    let upstream = Upstream::serve(|mut upstream: Conversation| async move {
        upstream.request().await;
        upstream.write(SSE_HEAD).await;
        let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while upstream.stream.write_all(piece.as_bytes()).await.is_ok() {}
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Client::connect_narrow(proxy.address).await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-Request-Id: a-1\r\n\r\n").await;
    state_becomes(&proxy, "a-1", "stalled").await;
    assert_eq!(kill(&proxy, "a-1").await.0, 202);
    is_killed(&proxy, &upstream).await;
}

#[tokio::test]
async fn nobody_is_killed_where_that_is_not_allowed_or_by_a_page_of_others() {
    let upstream = endless().await;
    let proxy = Proxy::to(upstream.address).admin("allow_kill = false").start().await;
    let _client = listens(&proxy, "/", "a-1").await;
    let (status, body) = kill(&proxy, "a-1").await;
    assert_eq!((status, &body["error"]["message"]), (403, &json!("admin.allow_kill is false")));
    assert_eq!(proxy.api("/api/streams").await["total"], 1);

    let proxy = Proxy::to(upstream.address).start().await;
    let _client = listens(&proxy, "/", "a-1").await;
    for fields in ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"] {
        let head = format!("DELETE /api/streams/a-1 HTTP/1.1\r\n{fields}");
        assert_eq!(proxy.admin_says(&head, "").await.0, 403, "{fields}");
    }
    assert_eq!(proxy.api("/api/streams").await["total"], 1);
}
