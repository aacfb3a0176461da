use std::time::Duration;

use crate::harness::{Proxy, Upstream};

/// A request to an upstream that says `head`, then holds; what the client gets and why it ended.
async fn held(head: &'static str, route: &str, http: &str) -> (String, bool, String) {
    let upstream = Upstream::serve(move |mut upstream| async move {
        upstream.request().await;
        upstream.write(head).await;
        upstream.closed().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).route(route).start().await;
    let mut client = proxy.client().await;
    client.send(format!("GET / {http}\r\nHost: test\r\n\r\n")).await;
    let response = client.response().await;
    (
        response.head + &String::from_utf8(response.body).unwrap(),
        response.complete,
        proxy.reason().await,
    )
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";

const ONE_EVENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                         Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n";

#[tokio::test]
async fn first_byte_ends_a_silent_upstream_with_504() {
    let (text, complete, reason) = held("", "timeouts.first_byte = \"100ms\"", "HTTP/1.1").await;
    assert!(text.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{text}");
    assert!(text.contains(r#""type":"first_byte_timeout""#), "{text}");
    assert!(complete);
    assert_eq!(reason, "first_byte_timeout");
}

#[tokio::test]
async fn first_event_ends_a_head_without_a_body_whatever_heartbeats_are_sent() {
    let rules = "timeouts.first_event = \"300ms\"\nsse.heartbeat = \"50ms\"";
    let (text, complete, reason) = held(CHUNKED, rules, "HTTP/1.1").await;
    assert!(text.contains(": keep-alive\n"), "heartbeats were sent: {text}");
    assert!(!complete, "a cut stream must not look complete");
    assert_eq!(reason, "first_event_timeout");
}

#[tokio::test]
async fn idle_counts_upstream_bytes_only() {
    let rules = "timeouts.idle = \"300ms\"\nsse.heartbeat = \"50ms\"";
    let (text, complete, reason) = held(ONE_EVENT, rules, "HTTP/1.1").await;
    assert!(text.contains("data: a\n\n: keep-alive\n"), "{text}");
    assert!(!complete, "a cut stream must not look complete");
    assert_eq!(reason, "idle_timeout");
}

#[tokio::test]
async fn a_cut_where_only_the_end_of_the_connection_ends_the_body_is_a_reset() {
    let rules = "timeouts.idle = \"200ms\"\nsse.heartbeat = \"off\"";
    let (text, complete, reason) = held(ONE_EVENT, rules, "HTTP/1.0").await;
    assert!(text.contains("data: a\n\nevent: error\n"), "what came is delivered: {text}");
    assert!(!complete, "a FIN would have been a clean end");
    assert_eq!(reason, "idle_timeout");
}

#[tokio::test]
async fn max_duration_ends_a_stream_that_flows() {
    let upstream = Upstream::sse(|mut upstream| async move {
        loop {
            let chunk = b"9\r\ndata: a\n\n\r\n";
            if tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, chunk).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let rules = "timeouts.max_duration = \"300ms\"\ntimeouts.idle = \"200ms\"";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert!(!response.complete && response.body.len() > 9);
    assert_eq!(proxy.reason().await, "max_duration");
}

#[tokio::test]
async fn send_ends_an_upstream_that_does_not_read_the_request() {
    let upstream = Upstream::serve(|upstream| async move {
        // Not one read: the kernel's buffers fill.
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(upstream);
    })
    .await;
    let rules = "timeouts.send = \"300ms\"\nlimits.max_request_body = \"off\"";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n").await;
    let (mut read, mut write) = client.stream.into_split();
    let writing = tokio::spawn(async move {
        let block = vec![b'x'; 64 * 1024];
        while tokio::io::AsyncWriteExt::write_all(&mut write, &block).await.is_ok() {}
    });
    let mut answer = vec![0; 12];
    let answered = tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer);
    crate::harness::soon("the answer", answered).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 504");
    assert_eq!(proxy.reason().await, "send_timeout");
    writing.abort();
}

#[tokio::test]
async fn a_request_that_is_still_being_sent_is_not_late() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::to(upstream.address).route("timeouts.first_byte = \"200ms\"").start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.status, 200, "the client took its time, not the upstream");
}
