//! What holds for a session as a whole.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::peer::*;
use crate::upstream::http2::{NotProcessed, Session, SessionLimits};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn rfc9113_6_8_goaway_tells_what_was_not_processed_and_the_rest_runs_on() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let (mut kept, mut lost) = (session.open().unwrap(), session.open().unwrap());
    write(&mut kept, GET).await;
    write(&mut lost, GET).await;
    let mut late = session.open().unwrap();
    peer.go_away(1).await;
    peer.until_pong().await;
    assert!(session.is_closed());
    assert!(session.open().is_none());
    assert!(NotProcessed::is_proved_by(&read_error(&mut lost).await));
    let written = late.write_all(GET).await.expect_err("too late");
    assert!(NotProcessed::is_proved_by(&written), "never sent");
    assert!(NotProcessed::is_proved_by(&read_error(&mut late).await));
    peer.headers(1, END_STREAM, "200", &[]).await;
    assert_eq!(read(&mut kept, EMPTY.len()).await, EMPTY);
}

#[tokio::test]
async fn a_graceful_goaway_lets_all_run_on() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, GET).await;
    peer.go_away((1 << 31) - 1).await;
    peer.until_pong().await;
    assert!(session.is_closed());
    peer.headers(1, END_STREAM, "200", &[]).await;
    assert_eq!(read(&mut exchange, EMPTY.len()).await, EMPTY);
}

#[tokio::test]
async fn goaway_is_heard_though_the_connection_is_gone() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    peer.until_pong().await;
    // Both before the session's task has a turn: it finds a connection that takes no request.
    peer.go_away(0).await;
    drop(peer);
    write(&mut exchange, GET).await;
    assert!(NotProcessed::is_proved_by(&read_error(&mut exchange).await));
}

#[tokio::test]
async fn what_was_never_written_was_not_processed() {
    let (session, peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    tokio::task::yield_now().await;
    drop(peer);
    write(&mut exchange, GET).await;
    assert!(NotProcessed::is_proved_by(&read_error(&mut exchange).await));
    assert!(session.is_closed());
}

#[tokio::test]
async fn a_connection_that_breaks_proves_nothing_about_what_was_written() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, GET).await;
    assert_eq!(peer.frame().await.kind, HEADERS);
    drop(peer);
    let error = read_error(&mut exchange).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(!NotProcessed::is_proved_by(&error));
}

#[tokio::test]
async fn no_more_exchanges_than_we_or_the_peer_allow() {
    for (ours, theirs) in [(2, 100), (100, 2)] {
        let limits = SessionLimits { streams: ours, ..limits() };
        let (session, mut peer) = Peer::meet(limits, &[(MAX_CONCURRENT_STREAMS, theirs)]).await;
        let (first, second) = (session.open().unwrap(), session.open().unwrap());
        assert!(session.open().is_none(), "ours {ours}, theirs {theirs}");
        assert_eq!(session.streams(), 2);
        drop(first);
        let mut third = session.open().expect("a place was given back");
        write(&mut third, GET).await;
        assert_eq!(peer.frame().await.kind, HEADERS);
        drop((second, third));
        assert_eq!(session.streams(), 0);
    }
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_an_error_at_the_start() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
    let started = tokio::time::timeout(SOON, Session::start(ours, limits())).await;
    assert!(started.expect("in time").is_err());

    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    let started = tokio::time::timeout(SOON, Session::start(ours, limits())).await;
    assert!(started.expect("in time").is_err());
}

#[tokio::test]
async fn a_silent_peer_is_asked_and_found_dead() {
    let quick = Duration::from_millis(20);
    let limits = SessionLimits { ping_after: quick, pong_within: quick, ..limits() };
    let (session, mut peer) = Peer::meet(limits, &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, GET).await;
    assert_eq!(peer.frame().await.kind, HEADERS);
    for _ in 0..3 {
        let ping = peer.frame().await;
        assert_eq!((ping.kind, ping.flags), (PING, 0));
        peer.send(PING, ACK, 0, &ping.payload).await;
    }
    assert!(is_silent(&mut exchange).await, "who answers is alive");
    // Now it does not.
    assert_eq!(read_error(&mut exchange).await.kind(), ErrorKind::ConnectionReset);
    assert!(session.is_closed());
}

#[tokio::test]
async fn the_connection_is_closed_when_nobody_holds_it() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    drop(session);
    write(&mut exchange, GET).await;
    assert_eq!(peer.frame().await.kind, HEADERS);
    peer.headers(1, END_STREAM, "200", &[]).await;
    assert_eq!(read(&mut exchange, EMPTY.len()).await, EMPTY);
    drop(exchange);
    assert_eq!(peer.frame().await.kind, GOAWAY);
}

/// An independent server with windows of a few bytes, and a megabyte that comes back.
#[tokio::test]
async fn bodies_pass_both_ways_through_tiny_windows() {
    const SIZE: usize = 100_000;
    let (ours, theirs) = tokio::io::duplex(64);
    let server = tokio::spawn(async move {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(7);
        let mut connection = builder.handshake::<_, bytes::Bytes>(theirs).await.unwrap();
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted.unwrap();
            tokio::spawn(async move {
                let response = http::Response::new(());
                let mut out = respond.send_response(response, false).unwrap();
                let mut body = request.into_body();
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    out.send_data(data, false).unwrap();
                }
                out.send_data(bytes::Bytes::new(), true).unwrap();
            });
        }
    });
    let limits = SessionLimits { stream_window: 11, ..limits() };
    let session = Session::start(ours, limits).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(session.open().unwrap());
    let body: Vec<u8> = (0..SIZE).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
    let head = format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {SIZE}\r\n\r\n");
    let sent = async {
        writer.write_all(head.as_bytes()).await.unwrap();
        writer.write_all(&body).await.unwrap();
    };
    let mut text = Vec::new();
    let received = async {
        while !text.ends_with(b"\r\n0\r\n\r\n") {
            assert!(reader.read_buf(&mut text).await.unwrap() > 0);
        }
    };
    let both = async { tokio::join!(sent, received) };
    tokio::time::timeout(SOON * 4, both).await.expect("in time");
    let head = text.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let mut decoder = crate::http1::body::BodyDecoder::new(crate::http1::framing::Framing::Chunked);
    let (mut input, mut echoed) = (&text[head..], Vec::new());
    while let crate::http1::body::Piece::Data(data) = decoder.next(&mut input).unwrap() {
        echoed.extend_from_slice(data);
    }
    assert!(decoder.is_done() && echoed == body, "{} of {SIZE} bytes", echoed.len());
    drop((reader, writer, session));
    tokio::time::timeout(SOON, server).await.expect("the connection is closed").unwrap();
}
