//! What the upstream gets.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::AsyncWrite as _;

use super::peer::*;
use crate::upstream::http2::{Exchange, Session};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n";
const LENGTH: &[u8] = b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\n";

/// One try to write: how many bytes were taken, `None` if it has to wait.
async fn try_write(exchange: &mut Exchange, text: &[u8]) -> Option<usize> {
    poll_fn(|cx| match Pin::new(&mut *exchange).poll_write(cx, text) {
        Poll::Ready(taken) => Poll::Ready(Some(taken.unwrap())),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn data(frames: &[Frame]) -> Vec<(&[u8], bool)> {
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    data.map(|frame| (&frame.payload[..], frame.flags & END_STREAM != 0)).collect()
}

#[tokio::test]
async fn a_request_without_a_body_is_one_frame() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, GET).await;
    let frames = peer.until_pong().await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    let Frame { kind, flags, stream, .. } = frames[0];
    assert_eq!((kind, flags, stream), (HEADERS, END_HEADERS | END_STREAM, 1));
}

#[tokio::test]
async fn the_last_byte_of_a_length_ends_the_stream() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, LENGTH).await;
    write(&mut exchange, b"hel").await;
    let frames = peer.until_pong().await;
    assert_eq!(data(&frames), [(&b"hel"[..], false)]);
    write(&mut exchange, b"lo").await;
    let frames = peer.until_pong().await;
    assert_eq!(data(&frames), [(&b"lo"[..], true)], "no empty frame behind it");
}

#[tokio::test]
async fn chunks_are_taken_out_of_their_framing() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, &[CHUNKED, b"3\r\nhel\r\n"].concat()).await;
    assert_eq!(data(&peer.until_pong().await), [(&b"hel"[..], false)]);
    write(&mut exchange, b"2\r\nlo\r\n0\r\n\r\n").await;
    assert_eq!(data(&peer.until_pong().await), [(&b"lo"[..], true)], "the end goes with the data");

    let mut other = session.open().unwrap();
    write(&mut other, &[CHUNKED, b"5\r\nhello\r\n"].concat()).await;
    peer.until_pong().await;
    write(&mut other, b"0\r\n\r\n").await;
    assert_eq!(data(&peer.until_pong().await), [(&b""[..], true)], "it has to be said somehow");
}

#[tokio::test]
async fn any_cut_gives_the_same_request() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    let text = [CHUNKED, b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"].concat();
    let mut first_head = None;
    for cut in 1..text.len() {
        let mut exchange = session.open().unwrap();
        write(&mut exchange, &text[..cut]).await;
        write(&mut exchange, &text[cut..]).await;
        let frames = peer.until_pong().await;
        let body: Vec<_> = data(&frames).iter().flat_map(|(data, _)| data.to_vec()).collect();
        assert_eq!(body, b"hello", "cut at {cut}");
        let ends: Vec<_> = data(&frames).iter().map(|(_, end)| *end).collect();
        assert_eq!(ends.iter().position(|end| *end), Some(ends.len() - 1), "cut at {cut}");
        // After the first, names stand in the table of HPACK.
        if cut > 1 {
            let head = first_head.get_or_insert_with(|| frames[0].payload.clone());
            assert_eq!(*head, frames[0].payload, "cut at {cut}");
        }
        peer.headers(frames[0].stream, END_STREAM, "200", &[]).await;
        read(&mut exchange, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".len()).await;
    }
}

/// A peer with room for five bytes, and an exchange that has sent a first piece of a chunk.
async fn stuck() -> (Session, Peer, Exchange) {
    let (session, mut peer) = Peer::meet(limits(), &[(INITIAL_WINDOW_SIZE, 5)]).await;
    let mut exchange = session.open().unwrap();
    write(&mut exchange, CHUNKED).await;
    write(&mut exchange, b"a\r\n01234567").await;
    assert_eq!(data(&peer.until_pong().await), [(&b"01234"[..], false)]);
    (session, peer, exchange)
}

async fn make_room(peer: &mut Peer, bytes: u32) {
    peer.send(WINDOW_UPDATE, 0, 1, &bytes.to_be_bytes()).await;
}

#[tokio::test]
async fn a_full_window_makes_the_writer_wait() {
    let (_session, mut peer, mut exchange) = stuck().await;
    let rest = b"89\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(try_write(&mut exchange, rest).await, None);
    make_room(&mut peer, 4).await;
    assert_eq!(data(&peer.until_pong().await), [(&b"567"[..], false)]);
    assert_eq!(try_write(&mut exchange, rest).await, Some(1), "what there is room for");
    assert_eq!(data(&peer.until_pong().await), [(&b"8"[..], false)]);
    make_room(&mut peer, 6).await;
    write(&mut exchange, &rest[1..]).await;
    let frames = peer.until_pong().await;
    assert_eq!(data(&frames), [(&b"9"[..], false), (&b"hello"[..], true)]);
}

#[tokio::test]
async fn the_end_of_a_body_needs_no_window() {
    let (_session, mut peer, mut exchange) = stuck().await;
    make_room(&mut peer, 5).await;
    write(&mut exchange, b"89\r\n").await;
    let frames = peer.until_pong().await;
    assert_eq!(data(&frames), [(&b"567"[..], false), (&b"89"[..], false)]);
    write(&mut exchange, b"0\r\n\r\n").await;
    assert_eq!(data(&peer.until_pong().await), [(&b""[..], true)]);
}

#[tokio::test]
async fn what_waits_for_the_window_is_bounded() {
    let (session, mut peer) = Peer::meet(limits(), &[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]).await;
    // The connection's own window of 65,535 bytes is what is full.
    let (mut first, mut second) = (session.open().unwrap(), session.open().unwrap());
    let mut taken = 0;
    for exchange in [&mut first, &mut second] {
        write(exchange, b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 10000000\r\n\r\n").await;
        for _ in 0..3 {
            peer.until_pong().await;
            taken += try_write(exchange, &[0; 1_000_000]).await.unwrap_or_default();
        }
    }
    assert_eq!(taken, 65_535 + 16 * 1024, "the window, and the second's first piece");
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_fails_for_reader_and_writer() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    for text in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", b"CONNECT a:1 HTTP/1.1\r\n\r\n"] {
        let mut exchange = session.open().unwrap();
        let written = tokio::io::AsyncWriteExt::write_all(&mut exchange, text).await;
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        let error = read_error(&mut exchange).await;
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    assert_eq!(peer.until_pong().await, [], "nothing was sent");
}

#[tokio::test]
async fn an_unfinished_exchange_is_cancelled_when_dropped() {
    let (session, mut peer) = Peer::meet(limits(), &[]).await;
    for (text, answered) in [(GET, false), (GET, true), (LENGTH, false), (LENGTH, true)] {
        let mut exchange = session.open().unwrap();
        write(&mut exchange, text).await;
        let stream = peer.frame().await.stream;
        if answered {
            peer.headers(stream, 0, "200", &[]).await;
            read(&mut exchange, 10).await;
        }
        drop(exchange);
        let frame = peer.frame().await;
        assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "answered: {answered}");
        assert_eq!(frame.payload, CANCEL.to_be_bytes());
        assert_eq!(session.streams(), 0);
    }
}
