use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::{Proxy, Upstream, until};

const DRAIN: &str = "workers = 2\ndrain = { grace = \"GRACE\", min_wait = \"0s\" }";

#[tokio::test]
async fn with_nothing_open_it_ends_at_once() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    let mut idle = proxy.client().await;
    idle.get("/").await;
    assert_eq!(idle.response().await.status, 200);
    let asked = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0));
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(1), "with only an idle connection open it took {took:?}");
    assert!(!idle.ends().await, "the idle connection ends with a FIN");
}

#[tokio::test]
async fn streams_run_on_to_their_end_and_nothing_new_is_accepted() {
    let upstream = Upstream::sse(|mut upstream| async move {
        upstream.chunk("data: a\n\n").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        upstream.chunk("data: b\n\n").await;
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).server(&DRAIN.replace("GRACE", "1m")).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    assert_eq!(client.text().await, "data: a\n\n");
    proxy.signal("TERM");
    until("nothing is accepted any more", || async {
        TcpStream::connect(proxy.address).await.is_err()
    })
    .await;
    assert_eq!(proxy.admin("/readyz").await.0, 503, "readiness is withdrawn");
    assert_eq!(proxy.admin("/healthz").await.0, 200, "it is alive");
    assert_eq!(proxy.metric(&["longwire_draining"]).await, 1.0);
    assert_eq!(client.text().await, "data: b\n\n");
    assert!(client.chunk().await.unwrap().is_empty(), "the stream ends as it should");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.reason().await, "completed");
}

#[tokio::test]
async fn at_grace_what_is_still_open_is_cut_and_logged() {
    let upstream = Upstream::sse(|mut upstream| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let mut proxy =
        Proxy::to(upstream.address).server(&DRAIN.replace("GRACE", "300ms")).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    client.text().await;
    proxy.signal("TERM");
    assert_eq!(client.chunk().await, None, "cut, not ended");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.reason().await, "drained");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let upstream = Upstream::sse(|mut upstream| async move { upstream.hold().await }).await;
    let mut proxy = Proxy::to(upstream.address).server(&DRAIN.replace("GRACE", "1m")).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    proxy.signal("TERM");
    proxy.logged("draining", 1).await;
    assert!(proxy.is_running());
    proxy.signal("INT");
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn min_wait_keeps_accepting_while_not_ready() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let server = "workers = 2\ndrain = { grace = \"1m\", min_wait = \"1s\" }";
    let mut proxy = Proxy::to(upstream.address).server(server).start().await;
    proxy.signal("TERM");
    until("readiness is withdrawn", || async { proxy.admin("/readyz").await.0 == 503 }).await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.status, 200, "load balancers need a moment to notice");
    assert_eq!(proxy.exit_code().await, Some(0));
}
