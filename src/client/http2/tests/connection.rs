//! What holds for a connection as a whole.

use std::time::Duration;

use h2::client::Builder;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::peer::*;
use crate::client::http2::{Ended, SessionLimits};

const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const QUICK: Duration = Duration::from_millis(20);
const EVER: u32 = (1 << 31) - 1;

fn limits() -> SessionLimits {
    SessionLimits::default()
}

/// Answers the ping by which we find out that the first GOAWAY has come.
async fn answer_ping(peer: &mut Peer) {
    let ping = peer.frame().await;
    assert_eq!((ping.kind, ping.flags), (PING, 0));
    peer.send(PING, ACK, 0, &ping.payload).await;
}

#[tokio::test]
async fn a_drain_lets_what_is_open_run_on_and_then_ends() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    served.shutdown.send(true).unwrap();
    assert_eq!(peer.go_away().await, Some((EVER, NO_ERROR)));
    answer_ping(&mut peer).await;
    assert_eq!(peer.go_away().await, Some((1, NO_ERROR)));
    // Too late: it is not answered, and the client knows why.
    peer.headers(3, END_STREAM, GET).await;
    write(&mut exchange, EMPTY).await;
    drop(exchange);
    let head = peer.frame().await;
    assert_eq!((head.kind, head.stream, head.flags & END_STREAM), (HEADERS, 1, END_STREAM));
    while peer.next().await.is_some() {}
    drop(peer);
    assert_eq!(served.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_clients_that_do_not_answer() {
    let limits = SessionLimits { farewell: QUICK, ..limits() };
    let (mut served, mut peer) = Peer::meet(limits, &[]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    served.shutdown.send(true).unwrap();
    assert_eq!(peer.go_away().await, Some((EVER, NO_ERROR)));
    tokio::time::sleep(QUICK * 3).await;
    assert!(is_silent(&mut exchange).await, "what is open runs on");
    write(&mut exchange, EMPTY).await;
    drop(exchange);
    assert_eq!(peer.go_away().await, Some((1, NO_ERROR)), "it is told what was done");
    drop(peer);
    assert_eq!(served.ended().await, Ended::Drained);
}

#[tokio::test]
async fn the_end_of_a_response_may_take_its_time() {
    const BODY: usize = 1500;
    let (ours, mut theirs) = tokio::io::duplex(64);
    let limits = SessionLimits { idle: QUICK * 3, farewell: QUICK, ..limits() };
    let mut served = serve_on(ours, limits);
    let bytes = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, b""),
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(GET)),
    ]
    .concat();
    theirs.write_all(&bytes).await.unwrap();
    let (_, mut exchange) = served.request().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    write(&mut exchange, head.as_bytes()).await;
    write(&mut exchange, &[b'x'; BODY]).await;
    drop(exchange);
    // A pipe of 64 bytes every 20 ms: the whole takes longer than idleness and farewell.
    let (mut body, mut space) = (0, [0; 64]);
    while body < BODY {
        let count = theirs.read(&mut space).await.unwrap();
        assert!(count > 0, "cut off after {body} bytes");
        body += space[..count].iter().filter(|byte| **byte == b'x').count();
        tokio::time::sleep(QUICK).await;
    }
    // Then it is idle.
    assert_eq!(served.ended().await, Ended::Idle);
}

#[tokio::test]
async fn what_comes_late_is_not_answered_with_a_reset() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    served.shutdown.send(true).unwrap();
    assert_eq!(peer.go_away().await, Some((EVER, NO_ERROR)));
    answer_ping(&mut peer).await;
    write(&mut exchange, EMPTY).await;
    drop(exchange);
    while peer.next().await.is_some() {}
    // A pipe whose other end is gone would take nothing.
    for _ in 0..50 {
        let room = frame(WINDOW_UPDATE, 0, 0, &1000_u32.to_be_bytes());
        assert!(peer.takes(&room).await);
        tokio::task::yield_now().await;
    }
    drop(peer);
    assert_eq!(served.ended().await, Ended::Drained);
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let limits = SessionLimits { idle: QUICK, ..limits() };
    let (mut served, mut peer) = Peer::meet(limits, &[]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    tokio::time::sleep(QUICK * 3).await;
    assert_eq!(peer.until_pong().await, [], "an open request is use");
    write(&mut exchange, EMPTY).await;
    drop(exchange);
    assert_eq!(peer.go_away().await, Some((EVER, NO_ERROR)));
    answer_ping(&mut peer).await;
    assert_eq!(peer.go_away().await, Some((1, NO_ERROR)));
    drop(peer);
    assert_eq!(served.ended().await, Ended::Idle);
}

#[tokio::test]
async fn a_silent_client_is_asked_and_found_dead() {
    let limits = SessionLimits { ping_after: QUICK, pong_within: QUICK * 5, ..limits() };
    let (mut served, mut peer) = Peer::meet(limits, &[]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    for _ in 0..3 {
        answer_ping(&mut peer).await;
    }
    assert!(is_silent(&mut exchange).await, "who answers is alive");
    assert_eq!(served.ended().await, Ended::Dead);
    assert!(exchange.has_left());
}

#[tokio::test]
async fn the_client_may_close() {
    let (served, mut client) = meet(limits(), &Builder::new()).await;
    let request = Request::builder().uri("http://a/").body(()).unwrap();
    let (_response, _) = client.send_request(request, true).unwrap();
    let (served, exchange) = {
        let mut served = served;
        let (_, exchange) = served.request().await;
        (served, exchange)
    };
    drop((client, _response, exchange));
    assert_eq!(served.ended().await, Ended::Closed);
}

#[tokio::test]
async fn a_client_that_speaks_something_else_is_let_go() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let served = serve_on(ours, limits());
    theirs.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(served.ended().await, Ended::NoPreface);

    let (ours, _theirs) = tokio::io::duplex(1024);
    let served = serve_on(ours, SessionLimits { handshake: QUICK, ..limits() });
    assert_eq!(served.ended().await, Ended::NoPreface, "nor is it waited for");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let (mut served, mut peer) = Peer::meet(SessionLimits { streams: 2, ..limits() }, &[]).await;
    let mut exchanges = Vec::new();
    for stream in [1, 3, 5] {
        peer.headers(stream, END_STREAM, GET).await;
        if stream < 5 {
            exchanges.push(served.request().await);
        }
    }
    let refused = peer.frame().await;
    assert_eq!((refused.kind, refused.stream), (RST_STREAM, 5));
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM: it may be sent again");
}

#[tokio::test]
async fn fifty_streams_of_events_run_at_once() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchanges = Vec::new();
    for stream in 0..50 {
        peer.headers(stream * 2 + 1, END_STREAM, GET).await;
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        exchanges.push(exchange);
    }
    assert_eq!(peer.until_pong().await.len(), 50);
    for exchange in &mut exchanges {
        write(exchange, b"9\r\ndata: 1\n\n\r\n").await;
    }
    assert_eq!(peer.until_pong().await.len(), 50);
}

#[tokio::test]
async fn malformed_requests_are_reset_and_the_connection_lives() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut stream = 1;
    for (more, code) in [
        (&[("host", "b")][..], PROTOCOL_ERROR),
        (&[("te", "gzip")], PROTOCOL_ERROR),
        (&[("connection", "close")], PROTOCOL_ERROR),
        (&[("content-length", "5")], PROTOCOL_ERROR),
        (&[("content-length", "x")], PROTOCOL_ERROR),
    ] {
        peer.headers(stream, END_STREAM, &[GET, more].concat()).await;
        let frame = peer.frame().await;
        assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "{more:?}");
        assert_eq!(frame.payload, code.to_be_bytes(), "{more:?}");
        stream += 2;
    }
    peer.headers(stream, END_STREAM, GET).await;
    assert_eq!(served.request().await.0.target, "/");
}

#[tokio::test]
async fn names_that_are_none_end_the_connection() {
    // The second is CVE-2019-9516.
    for name in ["X-Upper", ""] {
        let (served, mut peer) = Peer::meet(limits(), &[]).await;
        peer.headers(1, END_STREAM, &[GET, &[(name, "1")]].concat()).await;
        assert_eq!(peer.go_away().await.unwrap().1, PROTOCOL_ERROR, "{name}");
        drop(peer);
        assert_eq!(served.ended().await, Ended::Failed);
    }
}
