use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::{Proxy, Upstream, soon};

#[tokio::test]
async fn ten_thousand_events_arrive_byte_for_byte() {
    let upstream = Upstream::sse(|mut upstream| async move {
        for number in 0..10_000 {
            upstream.chunk(event(number)).await;
        }
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    let expected: String = (0..10_000).map(event).collect();
    assert!(response.complete);
    assert!(response.text() == expected, "the bytes differ");
    let end = proxy.logged("end", 1).await.remove(0);
    assert_eq!((end["events"].as_u64(), end["reason"].as_str()), (Some(10_000), Some("completed")));
    assert_eq!(proxy.metric(&["longwire_events_total", "sse"]).await, 10_000.0);
    let bytes = proxy.metric(&["longwire_bytes_total", "sse", "\"out\""]).await;
    assert_eq!(bytes, expected.len() as f64, "bytes are those that the client got");
}

fn event(number: usize) -> String {
    format!("id: {number}\ndata: {{\"n\":{number},\"text\":\"{}\"}}\n\n", "é".repeat(number % 50))
}

#[tokio::test]
async fn paced_events_come_in_reads_of_their_own() {
    // The next one is written when the one before has been read.
    let turns = Arc::new(Semaphore::new(0));
    let turn = Arc::clone(&turns);
    let upstream = Upstream::sse(move |mut upstream| {
        let turn = Arc::clone(&turn);
        async move {
            for number in 0..50 {
                soon("its turn", turn.acquire()).await.unwrap().forget();
                upstream.chunk(event(number)).await;
            }
            upstream.hold().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    assert!(client.inbox.is_empty(), "the head is sent before there is an event");
    for number in 0..50 {
        turns.add_permits(1);
        let data = event(number);
        let read = String::from_utf8(client.read().await.unwrap()).unwrap();
        assert_eq!(read, format!("{:x}\r\n{data}\r\n", data.len()), "one read, one event");
    }
}

#[tokio::test]
async fn a_stream_without_a_length_is_not_held_back_either() {
    let turns = Arc::new(Semaphore::new(0));
    let turn = Arc::clone(&turns);
    let upstream = Upstream::serve(move |mut upstream| {
        let turn = Arc::clone(&turn);
        async move {
            upstream.request().await;
            upstream.write("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n").await;
            for number in 0..10 {
                soon("its turn", turn.acquire()).await.unwrap().forget();
                upstream.write(format!("{{\"n\":{number}}}\n")).await;
            }
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    for number in 0..10 {
        turns.add_permits(1);
        assert_eq!(client.text().await, format!("{{\"n\":{number}}}\n"));
        assert!(number == 9 || client.inbox.is_empty(), "nothing more came with it");
    }
    assert!(client.chunk().await.unwrap().is_empty(), "a clean end");
    let end = proxy.logged("end", 1).await.remove(0);
    assert_eq!(
        (end["kind"].as_str(), end["reason"].as_str()),
        (Some("stream"), Some("upstream_closed"))
    );
}
