use std::time::Duration;

use serde_json::Value;

use crate::harness::{Proxy, Upstream, until_within};

const LOST: &str = "longwire_log_lines_dropped_total";

/// A process that writes `count` lines, and is not slowed down by it.
async fn lines(proxy: &Proxy, count: usize) {
    let mut client = proxy.client().await;
    let request = "GET /fine HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100);
    for _ in 0..count.div_ceil(100) {
        client.send(&request).await;
        for _ in 0..100 {
            assert_eq!(client.response().await.status, 200);
        }
    }
}

const FINE: &str = "[routes.fine]\npaths = [\"/fine\"]\nrespond = { status = 200, body = \"\" }";

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_tells_what_it_lost() {
    let upstream = Upstream::sse(|mut upstream| async move { upstream.hold().await }).await;
    let proxy =
        Proxy::to(upstream.address).route("sse.heartbeat = \"50ms\"").tables(FINE).start().await;
    let mut stream = proxy.client().await;
    stream.get("/").await;
    stream.head().await;
    let held = proxy.hold_log().await;
    let longest = Duration::from_secs(60);
    until_within(longest, "lines are lost", || async {
        lines(&proxy, 2000).await;
        proxy.metric(&[LOST]).await >= 1000.0
    })
    .await;
    for _ in 0..3 {
        assert_eq!(stream.text().await, ": keep-alive\n", "streams go on");
    }
    drop(held);
    let told =
        |lines: &[Value]| -> f64 { lines.iter().map(|line| line["lines"].as_f64().unwrap()).sum() };
    until_within(longest, "the loss is told", || async {
        let told = told(&proxy.log("log lines were lost"));
        told >= 1000.0 && told == proxy.metric(&[LOST]).await
    })
    .await;
    assert_eq!(proxy.log("log lines were lost")[0]["level"], "WARN");
    let kept = proxy.log("end").len();
    assert!(kept >= 16 * 1024, "what the queue held was written: {kept}");
    let before = proxy.log("end").len();
    lines(&proxy, 100).await;
    until_within(longest, "it logs again", || async { proxy.log("end").len() >= before + 100 })
        .await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_keep_the_process_from_its_end() {
    let upstream = Upstream::sse(|mut upstream| async move { upstream.hold().await }).await;
    let mut proxy = Proxy::to(upstream.address).tables(FINE).start().await;
    let _held = proxy.hold_log().await;
    lines(&proxy, 2000).await;
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_log_whose_pipe_is_closed_stops_nothing() {
    let upstream = Upstream::sse(|mut upstream| async move { upstream.hold().await }).await;
    let mut proxy =
        Proxy::to(upstream.address).route("sse.heartbeat = \"50ms\"").tables(FINE).start().await;
    let mut stream = proxy.client().await;
    stream.get("/").await;
    stream.head().await;
    proxy.close_log().await;
    lines(&proxy, 500).await;
    assert_eq!(stream.text().await, ": keep-alive\n");
    let longest = Duration::from_secs(10);
    until_within(longest, "the lines count as lost", || async {
        proxy.metric(&[LOST]).await >= 499.0
    })
    .await;
    drop(stream);
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0));
}
