use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::harness::{Client, Proxy, Upstream, until};

/// An upstream that writes 32 KiB events as fast as they are taken; counts the bytes.
async fn pouring() -> (Upstream, Arc<AtomicU64>) {
    let poured = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&poured);
    let upstream = Upstream::sse(move |mut upstream| {
        let counter = Arc::clone(&counter);
        async move {
            let event = format!("data: {}\n\n", "x".repeat(32_000));
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            while upstream.stream.write_all(chunk.as_bytes()).await.is_ok() {
                counter.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    (upstream, poured)
}

/// Waits until the upstream is not read any more.
async fn settled(poured: &AtomicU64) {
    let mut before = 0;
    until("the upstream is not read any more", || {
        let now = poured.load(Ordering::SeqCst);
        let settled = now > 0 && now == before;
        before = now;
        async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            settled
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_ended_as_slow() {
    let (upstream, _) = pouring().await;
    let rules = "stream.slow_client_timeout = \"500ms\"\nsse.heartbeat = \"50ms\"";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(proxy.reason().await, "slow_client");
    let response = client.response().await;
    assert!(!response.complete, "a stream that was cut must not look complete");
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_ended() {
    let (upstream, poured) = pouring().await;
    let rules = "stream.slow_client_timeout = \"2s\"\ntimeouts.idle = \"300ms\"";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    settled(&poured).await;
    // Stuck for most of the limit again and again, for longer than the limit and than `idle`.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let mut taken = 0;
        while taken < 1_000_000 {
            let count = client.read().await.unwrap().len();
            assert!(count > 0, "it was cut: {:?}", proxy.log("end"));
            taken += count;
        }
    }
    assert!(proxy.log("end").is_empty(), "it made progress: {:?}", proxy.log("end"));
    let stalls = proxy.metric(&["longwire_client_stall_seconds_count", "sse"]).await;
    assert!(stalls >= 1.0, "its stalls are measured");
}

#[tokio::test]
async fn stalled_readers_cost_bounded_memory_and_slow_nobody_else() {
    const READERS: usize = 100;
    let (upstream, poured) = pouring().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut warm = proxy.client().await;
    warm.get("/").await;
    settled(&poured).await;
    let before = proxy.resident_kib();
    let mut readers: Vec<Client> = Vec::new();
    for _ in 0..READERS {
        let mut reader = Client::connect_narrow(proxy.address).await;
        reader.get("/").await;
        readers.push(reader);
    }
    settled(&poured).await;
    let each = proxy.resident_kib().saturating_sub(before) / READERS as u64;
    // One read of 64 KiB may wait for the client, and what surrounds it.
    assert!(each <= 100, "a stalled reader costs {each} KiB");

    let taken_before = poured.load(Ordering::SeqCst);
    let mut quick = proxy.client().await;
    quick.get("/").await;
    let mut taken = 0;
    while taken < 20_000_000 {
        taken += quick.read().await.unwrap().len();
    }
    assert!(poured.load(Ordering::SeqCst) >= taken_before + 10_000_000);
}
