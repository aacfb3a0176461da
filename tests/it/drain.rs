use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Proxy, Upstream, find, until};

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
        upstream.chunk("data: a\n").await;
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

/// HTTP/2 has taken it from the exchange, and the connection has not taken it from HTTP/2.
#[tokio::test]
async fn a_response_that_waits_behind_others_is_delivered_before_the_process_ends() {
    let upstream = Upstream::serve(|mut upstream| async move {
        let asked = upstream.request().await;
        if asked.starts_with("GET /short ") {
            upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshort").await;
            return upstream.hold().await;
        }
        upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
        while upstream.stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).server(&DRAIN.replace("GRACE", "1m")).start().await;
    let mut client = proxy.client().await;
    let most = 0x7fff_ffff_u32.to_be_bytes();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // SETTINGS_INITIAL_WINDOW_SIZE, and the connection's window: all the room that there can be.
    client.send(frame(4, 0, 0, &[&[0, 4], &most[..]].concat())).await;
    client.send(frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await;
    client.send(frame(1, 5, 1, &get("/long"))).await;
    proxy.logged("open", 1).await;
    // It is stalled when nothing more is taken of it.
    let mut taken = -1.0;
    loop {
        let now = proxy.sum(&["longwire_bytes_total{"]).await;
        if now > 0.0 && now == taken {
            break;
        }
        taken = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.send(frame(1, 5, 3, &get("/short"))).await;
    let short = proxy.logged("end", 1).await;
    assert_eq!((&short[0]["path"], &short[0]["reason"]), (&"/short".into(), &"completed".into()));
    client.send(frame(3, 0, 1, &[0, 0, 0, 8])).await;
    proxy.logged("end", 2).await;
    proxy.signal("TERM");
    proxy.logged("draining", 1).await;
    let (wanted, mut came) = (frame(0, 1, 3, b"short"), Vec::new());
    while find(&came, &wanted).is_none() {
        // Of what was looked through, only the end can begin it.
        came.drain(..came.len().saturating_sub(wanted.len()));
        let bytes = client.read().await.expect("the rest of what was written");
        assert!(!bytes.is_empty(), "the end, and the short response was not there");
        came.extend_from_slice(&bytes);
    }
    drop(client);
    assert_eq!(proxy.exit_code().await, Some(0));
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The fields of a request, as literals (RFC 7541 §6.2.2).
fn get(path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let literal = |(name, value)| [&[0][..], &text(name), &text(value)].concat();
    fields.into_iter().flat_map(literal).collect()
}
