//! The bounds of the pool, and its gauges next to what the kernel says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::harness::{Client, Peer, Proxy, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const IDLE: [&str; 2] = ["longwire_upstream_connections{", "state=\"idle\""];
const ACTIVE: [&str; 2] = ["longwire_upstream_connections{", "state=\"active\""];

/// The established connections to that port, as `ss -t` counts them.
async fn established(to: SocketAddr) -> usize {
    let filter = format!("( dport = :{} )", to.port());
    let mut ss = Peer::program(&["ss", "-Htn", "state", "established", &filter]);
    let output = soon("ss", ss.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().count()
}

/// Idle and active together are what the kernel has.
async fn gauges_agree(proxy: &Proxy, upstream: &Upstream, idle: usize, active: usize) {
    until(&format!("{idle} are idle and {active} active"), || async {
        proxy.metric(&IDLE).await == idle as f64 && proxy.metric(&ACTIVE).await == active as f64
    })
    .await;
    until(&format!("ss agrees on {}", idle + active), || async {
        established(upstream.address).await == idle + active
    })
    .await;
}

async fn closed_for(proxy: &Proxy, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    proxy.metric(&["longwire_upstream_pool_closed_total{", &reason]).await
}

async fn ask(proxy: &Proxy) {
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.text(), "ok");
}

/// Streams that end with the word.
async fn streaming() -> (Upstream, Arc<Notify>) {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream| {
        let given = Arc::clone(&given);
        async move { upstream.streams_until(&given, "").await }
    })
    .await;
    (upstream, word)
}

async fn stream(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    client
}

#[tokio::test]
async fn the_gauges_agree_with_ss_all_along() {
    let (upstream, word) = streaming().await;
    let proxy = Proxy::to(upstream.address).upstream("pool.max_idle = 4").start().await;
    gauges_agree(&proxy, &upstream, 0, 0).await;
    let mut clients = Vec::new();
    for count in 1..=6 {
        clients.push(stream(&proxy).await);
        gauges_agree(&proxy, &upstream, 0, count).await;
    }
    drop(clients.pop());
    gauges_agree(&proxy, &upstream, 0, 5).await;
    word.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.text().await, "", "the last chunk");
    }
    gauges_agree(&proxy, &upstream, 4, 0).await;
    let again = stream(&proxy).await;
    gauges_agree(&proxy, &upstream, 3, 1).await;
    drop(again);
    gauges_agree(&proxy, &upstream, 3, 0).await;
    assert_eq!((closed_for(&proxy, "full").await, closed_for(&proxy, "unclean").await), (1.0, 2.0));
}

#[tokio::test]
async fn max_idle_is_for_each_endpoint() {
    let ((a, to_a), (b, to_b)) = (streaming().await, streaming().await);
    let proxy = Proxy::to_all(&[a.address, b.address]).upstream("pool.max_idle = 2").start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(stream(&proxy).await);
    }
    assert_eq!((a.open(), b.open()), (4, 4));
    to_a.notify_waiters();
    to_b.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.text().await, "", "the last chunk");
    }
    until("two are kept to each", || async { (a.open(), b.open()) == (2, 2) }).await;
    let idle = proxy.sum(&IDLE).await;
    assert_eq!((idle, closed_for(&proxy, "full").await), (4.0, 4.0));
}

#[tokio::test]
async fn a_connection_that_is_too_old_is_not_used_again() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).upstream("pool.max_lifetime = \"1s\"").start().await;
    let began = Instant::now();
    let mut number = 0;
    while upstream.connections() < 3 {
        ask(&proxy).await;
        number += 1;
        proxy.logged("end", number).await;
        assert!(began.elapsed() < Duration::from_secs(10), "it is used for ever");
    }
    let elapsed = began.elapsed();
    // Two lifetimes, each less up to a tenth.
    assert!(elapsed >= Duration::from_millis(1750), "two of them after {elapsed:?}");
    assert!(number > 10, "only {number} requests: reused in between");
    until("the old ones are closed", || async { upstream.open() == 1 }).await;
    assert_eq!(closed_for(&proxy, "max_lifetime").await, 2.0);
}

#[tokio::test]
async fn an_idle_connection_that_is_too_old_is_closed() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).upstream("pool.max_lifetime = \"500ms\"").start().await;
    ask(&proxy).await;
    until("it is closed", || async { upstream.open() == 0 }).await;
    until("it is counted", || async { closed_for(&proxy, "max_lifetime").await == 1.0 }).await;
    gauges_agree(&proxy, &upstream, 0, 0).await;
}

#[tokio::test]
async fn a_stream_outlives_the_lifetime_of_its_connection() {
    let (upstream, word) = streaming().await;
    let proxy = Proxy::to(upstream.address).upstream("pool.max_lifetime = \"200ms\"").start().await;
    let began = Instant::now();
    let mut client = stream(&proxy).await;
    until("its time is over", || async { began.elapsed() > Duration::from_millis(500) }).await;
    assert_eq!(upstream.open(), 1, "nobody cuts a stream for that");
    word.notify_waiters();
    assert_eq!(client.text().await, "", "the last chunk");
    until("then it is closed", || async { upstream.open() == 0 }).await;
}

#[tokio::test]
async fn no_more_than_max_connections_are_opened_and_the_others_wait() {
    let (upstream, word) = streaming().await;
    let rules = "pool.max_connections = 3";
    let route = "limits.queue = { size = 10, timeout = \"30s\" }";
    let proxy = Proxy::to(upstream.address).upstream(rules).route(route).start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(stream(&proxy).await);
    }
    let mut waiting = proxy.client().await;
    waiting.get("/").await;
    let queue = ["longwire_upstream_queue_length{", "\"up\""];
    proxy.metric_becomes(&queue, 1.0).await;
    gauges_agree(&proxy, &upstream, 0, 3).await;
    word.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.text().await, "", "the last chunk");
    }
    assert!(waiting.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(upstream.connections(), 3, "it took one of them over");
    gauges_agree(&proxy, &upstream, 2, 1).await;
}

#[tokio::test]
async fn warm_connections_are_there_before_the_first_request_and_after_a_close() {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream| {
        let given = Arc::clone(&given);
        async move {
            loop {
                tokio::select! {
                    request = upstream.try_request() => if request.is_none() { return },
                    () = given.notified() => return,
                }
                upstream.write(OK).await;
            }
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).upstream("pool.warm = 3").start().await;
    gauges_agree(&proxy, &upstream, 3, 0).await;
    ask(&proxy).await;
    assert_eq!(upstream.connections(), 3, "the request took one of them");
    word.notify_one();
    until("another one is opened", || async { upstream.connections() == 4 }).await;
    gauges_agree(&proxy, &upstream, 3, 0).await;
}

#[tokio::test]
async fn what_the_upstream_closes_when_idle_is_learned_and_shown() {
    let upstream = Upstream::serve(|mut upstream| async move {
        let patience = Duration::from_millis(700);
        while let Ok(Some(_)) = tokio::time::timeout(patience, upstream.try_request()).await {
            upstream.write(OK).await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let learned = "longwire_upstream_learned_idle_seconds{";
    assert_eq!(proxy.sum(&[learned]).await, 0.0, "nothing is known yet");
    // Two closes a second apart that agree: the first one and the third.
    for _ in 0..3 {
        ask(&proxy).await;
        until("the upstream closes it", || async { upstream.open() == 0 }).await;
        proxy.metric_becomes(&IDLE, 0.0).await;
    }
    until("it is learned", || async { proxy.metric(&[learned]).await > 0.0 }).await;
    let seconds = proxy.metric(&[learned]).await;
    assert!((0.65..0.8).contains(&seconds), "{seconds}");
    ask(&proxy).await;
    until("we close it first", || async { closed_for(&proxy, "idle_timeout").await == 1.0 }).await;
    assert_eq!(closed_for(&proxy, "peer_closed").await, 3.0);
}
