use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Authority, Client, Peer, Proxy, Upstream, soon, until, until_within};

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

/// What waits in TLS waits for the client, too: pieces that fit into a record leave nothing else.
#[tokio::test]
async fn over_tls_a_client_that_reads_nothing_is_ended_as_slow() {
    let upstream = Upstream::sse(|mut upstream| async move {
        let chunk = format!("1f40\r\n{}\r\n", "x".repeat(8000));
        while upstream.stream.write_all(chunk.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let authority = Authority::new();
    let tls = format!("tls.certificates = [{}]", authority.sign("a", &["a.example"]));
    let rules = "stream.slow_client_timeout = \"500ms\"";
    let proxy = Proxy::to(upstream.address).listener(&tls).route(rules).start().await;
    let address = proxy.address.to_string();
    // It stops reading when nobody reads what it writes.
    let mut client = Peer::program(&["openssl", "s_client", "-quiet", "-connect", &address]);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    until_within(Duration::from_secs(30), "it has ended", async || !proxy.log("end").is_empty())
        .await;
    assert_eq!(proxy.reason().await, "slow_client");
    drop(input);
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

/// Memory that is no stream's: caches of threads, pages that are used in part, and what is known of
/// those that have ended.
const KEPT_KIB: u64 = 6 * 1024;

/// What so many readers that have stopped reading cost the proxy, and what is left of it when they
/// have gone; none of them slows anybody else.
async fn stalled_readers(count: usize) {
    let (upstream, poured) = pouring().await;
    let rules = "stream.slow_client_timeout = \"off\"";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut warm = proxy.client().await;
    warm.get("/").await;
    settled(&poured).await;
    let before = proxy.resident_kib();
    let mut readers: Vec<Client> = Vec::new();
    for _ in 0..count {
        let mut reader = Client::connect_narrow(proxy.address).await;
        reader.get("/").await;
        readers.push(reader);
    }
    settled(&poured).await;
    let stalled = proxy.resident_kib();
    let each = stalled.saturating_sub(before) / count as u64;
    println!("{count} stalled readers: {each} KiB each ({before} KiB before, {stalled} KiB now)");
    assert!(each <= 40, "a stalled reader costs {each} KiB");

    let taken_before = poured.load(Ordering::SeqCst);
    let mut quick = proxy.client().await;
    quick.get("/").await;
    let mut taken = 0;
    while taken < 20_000_000 {
        taken += quick.read().await.unwrap().len();
    }
    assert!(poured.load(Ordering::SeqCst) >= taken_before + 10_000_000);

    drop((quick, readers));
    // The allocator takes its time to see that nobody wants it back.
    let most = before + KEPT_KIB;
    assert!(stalled > 2 * most - before, "too little to tell");
    until_within(Duration::from_secs(60), "most of the memory is given back", async || {
        proxy.resident_kib() <= most
    })
    .await;
}

#[tokio::test]
async fn stalled_readers_cost_bounded_memory_that_is_given_back() {
    stalled_readers(600).await;
}

#[tokio::test]
#[ignore = "a minute, and gigabytes of the kernel's buffers"]
async fn a_thousand_stalled_readers_do_the_same() {
    stalled_readers(1000).await;
}

#[tokio::test]
async fn a_client_that_stays_behind_is_ended_where_the_route_says_so() {
    let (upstream, poured) = pouring().await;
    let rules = "stream = { slow_client = \"disconnect\", slow_client_timeout = \"1s\" }";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = Client::connect_narrow(proxy.address).await;
    client.get("/").await;
    settled(&poured).await;
    // It takes some again and again, and never all.
    let nibble = async {
        while let Ok(taken) = client.read().await {
            if taken.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::join!(nibble, async { assert_eq!(proxy.reason().await, "slow_client") });
}

#[tokio::test]
async fn a_body_that_drips_is_ended() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let rules = "stream = { slow_client_timeout = \"500ms\", min_request_rate = \"1KiB\" }";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    // Never silent for long, and never quick.
    let (mut read, mut write) = client.stream.into_split();
    let dripping = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = vec![0; 12];
    soon("an answer", read.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(proxy.reason().await, "slow_client");
    dripping.abort();
}
