use std::time::Duration;

use crate::harness::{Proxy, Upstream, soon};

const BEAT: &str = ": keep-alive\n";

#[tokio::test]
async fn a_silent_stream_gets_a_heartbeat_before_and_after_its_first_event() {
    let upstream = Upstream::sse(|mut upstream| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"100ms\"").start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert!(client.head().await.contains("X-Accel-Buffering: no\r\n"));
    assert_eq!(client.text().await, BEAT, "before the first event");
    while client.text().await == BEAT {}
    for _ in 0..3 {
        assert_eq!(client.text().await, BEAT, "between two events");
    }
    let sent = proxy.metric(&["longwire_heartbeats_sent_total", "kind=\"sse\""]).await;
    assert!(sent >= 4.0, "{sent} heartbeats are counted");
}

#[tokio::test]
async fn no_heartbeat_stands_inside_an_event_wherever_it_was_cut() {
    // The upstream stops at every place of an event for several heartbeats.
    const EVENT: &[u8] = b"id: 1\r\ndata: hello\r\n\r\n";
    let upstream = Upstream::sse(|mut upstream| async move {
        for cut in 1..EVENT.len() {
            upstream.chunk(&EVENT[..cut]).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            upstream.chunk(&EVENT[cut..]).await;
        }
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"20ms\"").start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert!(response.complete);
    let whole = EVENT.repeat(EVENT.len() - 1);
    assert_eq!(response.text(), std::str::from_utf8(&whole).unwrap());
    assert_eq!(proxy.logged("end", 1).await[0]["events"], EVENT.len() - 1);
}

#[tokio::test]
async fn a_body_with_a_length_gets_no_heartbeat_but_every_event_at_once() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream
            .write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 18\r\n\r\n\
                 data: a\n\n",
            )
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        upstream.write("data: b\n\n").await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"20ms\"").start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert!(client.head().await.contains("Content-Length: 18\r\n"));
    assert_eq!(client.read().await.unwrap(), b"data: a\n\n");
    assert_eq!(client.read().await.unwrap(), b"data: b\n\n", "and nothing in between");
}

#[tokio::test]
async fn a_compressed_stream_passes_untouched() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream
            .write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            )
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        upstream.chunk("\x1f\x01").await;
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"20ms\"").start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.body, b"\x1f\x01");
}

#[tokio::test]
async fn the_upstreams_own_comments_pass_and_count_as_activity() {
    let upstream = Upstream::sse(|mut upstream| async move {
        for _ in 0..10 {
            upstream.chunk(": ping\n\n").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"2s\"").start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = soon("the end", client.response()).await;
    assert_eq!(response.text(), ": ping\n\n".repeat(10));
}
