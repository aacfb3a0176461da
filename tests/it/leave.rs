use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::harness::{Client, Proxy, Upstream, soon};

/// An upstream that says `before`, and reports when the proxy has closed its connection.
async fn watched(before: &'static str) -> (Upstream, mpsc::UnboundedReceiver<Instant>) {
    let (closes, seen) = mpsc::unbounded_channel();
    let upstream = Upstream::serve(move |mut upstream| {
        let closes = closes.clone();
        async move {
            upstream.request().await;
            upstream.write(before).await;
            upstream.closed().await;
            closes.send(Instant::now()).unwrap();
        }
    })
    .await;
    (upstream, seen)
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                      Transfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n";

async fn leaves(before: &'static str, status: u64, reset: bool) {
    let (upstream, mut closes) = watched(before).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.post("/", b"{}").await;
    if before.is_empty() {
        proxy.metric_becomes(&["upstream_endpoint_streams"], 1.0).await;
    } else {
        client.head().await;
        client.text().await;
    }
    let left = Instant::now();
    if reset {
        client.stream.set_zero_linger().unwrap();
    }
    drop(client);
    let closed = soon("the upstream to see it", closes.recv()).await.unwrap();
    let took = closed.saturating_duration_since(left);
    assert!(took < Duration::from_millis(500), "the model ran on for {took:?}");
    let end = proxy.logged("end", 1).await.remove(0);
    assert_eq!(
        (end["reason"].as_str(), end["status"].as_u64()),
        (Some("client_closed"), Some(status))
    );
    assert_eq!(proxy.metric(&["longwire_cancelled_upstream_total"]).await, 1.0);
    assert_eq!(proxy.metric(&["longwire_cancel_seconds_count"]).await, 1.0);
    proxy.metric_becomes(&["upstream_endpoint_streams"], 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_stops_the_model() {
    leaves("", 499, false).await;
}

#[tokio::test]
async fn a_client_that_leaves_between_two_events_stops_the_model() {
    leaves(STREAM, 200, false).await;
}

#[tokio::test]
async fn a_client_that_resets_stops_the_model() {
    leaves(STREAM, 200, true).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_write_stops_the_model() {
    let (closes, mut seen) = mpsc::unbounded_channel();
    let upstream = Upstream::sse(move |mut upstream| {
        let closes = closes.clone();
        async move {
            let event = format!("data: {}\n\n", "x".repeat(60_000));
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            // More than all buffers on the way hold; ends when the proxy closes.
            while tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, chunk.as_bytes())
                .await
                .is_ok()
            {}
            closes.send(()).unwrap();
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    // It reads nothing until the proxy's write is stuck, then it goes.
    let mut before = -1.0;
    loop {
        let now = proxy.metric(&["longwire_bytes_total", "\"out\"", "sse"]).await;
        if now == before && now > 0.0 {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(client);
    soon("the upstream to see it", seen.recv()).await.unwrap();
    assert_eq!(proxy.reason().await, "client_closed");
}

#[tokio::test]
async fn a_thousand_clients_leave_and_the_upstream_sees_a_thousand_closes() {
    const CLIENTS: usize = 1000;
    let (upstream, mut closes) = watched(STREAM).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = proxy.client().await;
        client.get("/").await;
        clients.push(client);
    }
    for client in &mut clients {
        client.head().await;
        client.text().await;
    }
    assert_eq!(proxy.metric(&["longwire_streams_active", "sse"]).await, CLIENTS as f64);
    drop(clients);
    for seen in 0..CLIENTS {
        soon(&format!("close {seen}"), closes.recv()).await.unwrap();
    }
    proxy.metric_becomes(&["longwire_streams_active", "sse"], 0.0).await;
    let closed = ["longwire_streams_closed_total", "sse", "client_closed"];
    assert_eq!(proxy.metric(&closed).await, CLIENTS as f64);
    assert_eq!(proxy.metric(&["longwire_cancelled_upstream_total"]).await, CLIENTS as f64);
    proxy.metric_becomes(&["longwire_upstream_connections", "active"], 0.0).await;
}
