//! What the reader gets.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt as _;

use super::peer::*;
use crate::upstream::http2::{Exchange, NotProcessed, Session, SessionLimits};

/// An exchange whose request has arrived as stream 1, with nothing of the body missing.
async fn asked(method: &str, limits: SessionLimits) -> (Session, Peer, Exchange) {
    let (session, mut peer) = Peer::meet(limits, &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, format!("{method} / HTTP/1.1\r\nHost: b\r\n\r\n").as_bytes()).await;
    assert_eq!(peer.frame().await.kind, HEADERS);
    (session, peer, exchange)
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn an_open_end_is_chunked_and_each_frame_is_there_at_once() {
    let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
    peer.headers(1, 0, "200", &[]).await;
    assert_eq!(read(&mut exchange, CHUNKED.len()).await, CHUNKED);
    peer.send(DATA, 0, 1, b"data: a\n\n").await;
    assert_eq!(read(&mut exchange, 12).await, "9\r\ndata: a\n\n");
    peer.send(DATA, 0, 1, b"data: b\n\n").await;
    assert_eq!(read(&mut exchange, 14).await, "\r\n9\r\ndata: b\n\n");
    assert!(is_silent(&mut exchange).await);
    peer.send(DATA, END_STREAM, 1, b"").await;
    assert_eq!(read(&mut exchange, 7).await, "\r\n0\r\n\r\n");
    assert!(is_silent(&mut exchange).await, "as a connection that is kept alive");
}

#[tokio::test]
async fn any_size_of_reads_gives_the_same() {
    let mut whole = String::new();
    for size in 1..100 {
        let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
        peer.headers(1, 0, "103", &[("link", "</a>")]).await;
        peer.headers(1, 0, "200", &[("x", "y")]).await;
        peer.send(DATA, 0, 1, &[b'a'; 17]).await;
        peer.send(DATA, END_STREAM, 1, b"b").await;
        let mut text = Vec::new();
        while !text.ends_with(b"0\r\n\r\n") {
            let mut space = vec![0; size];
            let read = tokio::time::timeout(SOON, exchange.read(&mut space)).await;
            text.extend_from_slice(&space[..read.expect("in time").unwrap()]);
        }
        let text = String::from_utf8(text).unwrap();
        if size == 1 {
            whole.clone_from(&text);
        }
        assert_eq!(text, whole, "reads of {size}");
    }
    assert_eq!(
        whole,
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n\
         11\r\naaaaaaaaaaaaaaaaa\r\n1\r\nb\r\n0\r\n\r\n"
    );
}

#[tokio::test]
async fn a_length_stays_a_length() {
    let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
    peer.headers(1, 0, "200", &[("content-length", "5")]).await;
    peer.send(DATA, END_STREAM, 1, b"hello").await;
    let expected = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(read(&mut exchange, expected.len()).await, expected);
    assert!(is_silent(&mut exchange).await);
}

#[tokio::test]
async fn a_response_to_head_has_no_body() {
    let (session, mut peer, mut exchange) = asked("HEAD", limits()).await;
    peer.headers(1, END_STREAM, "200", &[("content-length", "5")]).await;
    let expected = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(read(&mut exchange, expected.len()).await, expected);
    assert!(is_silent(&mut exchange).await);
    drop(exchange);
    assert_eq!((peer.until_pong().await.len(), session.streams()), (0, 0));
}

#[tokio::test]
async fn trailers_are_dropped() {
    let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
    peer.headers(1, 0, "200", &[]).await;
    peer.send(DATA, 0, 1, b"a").await;
    // A literal field, as in `headers`.
    peer.send(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x01x\x01y").await;
    let expected = format!("{CHUNKED}1\r\na\r\n0\r\n\r\n");
    assert_eq!(read(&mut exchange, expected.len()).await, expected);
    assert!(is_silent(&mut exchange).await);
}

#[tokio::test]
async fn lengths_that_lie_are_errors() {
    for body in [&b"hell"[..], b"hello!"] {
        let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
        peer.headers(1, 0, "200", &[("content-length", "5")]).await;
        peer.send(DATA, END_STREAM, 1, body).await;
        let mut all = Vec::new();
        let read = tokio::time::timeout(SOON, exchange.read_to_end(&mut all)).await;
        let error = read.expect("in time").expect_err("a lie");
        assert!(!NotProcessed::is_proved_by(&error), "{body:?}");
        assert!(!all.ends_with(b"hello"), "{body:?}");
    }
}

#[tokio::test]
async fn rfc9113_8_7_a_refused_stream_was_not_processed() {
    let (_session, mut peer, mut exchange) = asked("POST", limits()).await;
    peer.reset(1, REFUSED_STREAM).await;
    assert!(NotProcessed::is_proved_by(&read_error(&mut exchange).await));
    assert_eq!(exchange.read(&mut [0; 1]).await.unwrap(), 0, "then it is at its end");
}

#[tokio::test]
async fn any_other_reset_proves_nothing() {
    for code in [NO_ERROR, INTERNAL_ERROR, CANCEL] {
        let (_session, mut peer, mut exchange) = asked("POST", limits()).await;
        peer.reset(1, code).await;
        let error = read_error(&mut exchange).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(!NotProcessed::is_proved_by(&error), "code {code}");
    }
}

#[tokio::test]
async fn who_has_begun_to_answer_has_processed_it() {
    for status in ["103", "200"] {
        let (_session, mut peer, mut exchange) = asked("POST", limits()).await;
        peer.headers(1, 0, status, &[]).await;
        read(&mut exchange, "HTTP/1.1 200 OK\r\n".len()).await;
        peer.reset(1, REFUSED_STREAM).await;
        let mut rest = Vec::new();
        let error = exchange.read_to_end(&mut rest).await.expect_err("a reset");
        assert!(!NotProcessed::is_proved_by(&error), "{status}");
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_comes_after_what_was_sent() {
    let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
    peer.headers(1, 0, "200", &[]).await;
    peer.send(DATA, 0, 1, b"hello").await;
    peer.reset(1, INTERNAL_ERROR).await;
    let mut all = Vec::new();
    let error = exchange.read_to_end(&mut all).await.expect_err("a reset");
    assert_eq!(String::from_utf8(all).unwrap(), format!("{CHUNKED}5\r\nhello"));
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn rfc9113_8_1_a_reset_after_the_whole_response_is_no_error() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nfour").await;
    peer.until_pong().await;
    peer.headers(1, 0, "413", &[]).await;
    peer.send(DATA, END_STREAM, 1, b"too much").await;
    peer.reset(1, NO_ERROR).await;
    peer.until_pong().await;
    let written = tokio::io::AsyncWriteExt::write_all(&mut exchange, b"more!").await;
    written.expect_err("it takes no more");
    let expected = "HTTP/1.1 413 Payload Too Large\r\ntransfer-encoding: chunked\r\n\r\n\
                    8\r\ntoo much\r\n0\r\n\r\n";
    assert_eq!(read(&mut exchange, expected.len()).await, expected);
    assert!(is_silent(&mut exchange).await);
}

#[tokio::test]
async fn a_slow_reader_holds_no_more_than_the_window() {
    let (_session, mut peer, mut exchange) =
        asked("GET", SessionLimits { stream_window: 20_000, ..limits() }).await;
    peer.headers(1, 0, "200", &[("content-length", "40000")]).await;
    peer.send(DATA, 0, 1, &[b'a'; 10_000]).await;
    peer.send(DATA, 0, 1, &[b'a'; 10_000]).await;
    assert_eq!(peer.until_pong().await, [], "no more may be sent");
    read(&mut exchange, "HTTP/1.1 200 OK\r\ncontent-length: 40000\r\n\r\n".len() + 15_000).await;
    let update = peer.frame().await;
    assert_eq!((update.kind, update.stream), (WINDOW_UPDATE, 1));
    let more = u32::from_be_bytes(update.payload.try_into().unwrap());
    assert!((10_000..=15_000).contains(&more), "only what was read: {more}");
}

#[tokio::test]
async fn events_of_a_few_bytes_for_readers_that_stall_do_not_end_the_connection() {
    let limits = SessionLimits { stream_window: 16_000, streams: 4, ..limits() };
    let (session, mut peer) = Peer::meet(limits, &[]).await;
    let mut exchanges = Vec::new();
    for stream in [1, 3, 5, 7] {
        let mut exchange = session.open().unwrap();
        write(&mut exchange, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n").await;
        exchanges.push(exchange);
        assert_eq!(peer.frame().await.stream, stream);
        peer.headers(stream, 0, "200", &[]).await;
        for _ in 0..1000 {
            peer.send(DATA, 0, stream, b"data: 56789abc\n\n").await;
        }
    }
    assert_eq!(peer.until_pong().await, [], "no GOAWAY");
    for exchange in &mut exchanges {
        let text = read(exchange, CHUNKED.len() + 1000 * 22 - 2).await;
        assert_eq!(text.matches("data: 56789abc\n\n").count(), 1000);
    }
}

#[tokio::test]
async fn a_complete_response_is_not_cancelled_while_its_end_is_on_the_way() {
    let (session, mut peer, mut exchange) = asked("GET", limits()).await;
    peer.headers(1, 0, "200", &[("content-length", "2")]).await;
    peer.send(DATA, 0, 1, b"ok").await;
    read(&mut exchange, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".len()).await;
    assert!(is_silent(&mut exchange).await);
    drop(exchange);
    assert_eq!(peer.until_pong().await, [], "no reset");
    assert_eq!(session.streams(), 1, "the upstream still counts it");
    peer.send(DATA, END_STREAM, 1, b"").await;
    peer.until_pong().await;
    let given_back = async {
        while session.streams() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, given_back).await.expect("the place is given back");
}

#[tokio::test]
async fn switching_protocols_is_an_error() {
    let (_session, mut peer, mut exchange) = asked("GET", limits()).await;
    peer.headers(1, 0, "101", &[]).await;
    assert_eq!(read_error(&mut exchange).await.kind(), ErrorKind::InvalidData);
}
