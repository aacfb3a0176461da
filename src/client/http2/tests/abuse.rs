//! Clients that do what is cheap for them and dear for us.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::peer::*;
use crate::client::http2::{Ended, Flood, SessionLimits};

fn limits() -> SessionLimits {
    SessionLimits { farewell: Duration::from_millis(20), ..SessionLimits::default() }
}

/// Sends `bytes` and looks how the connection ends.
async fn flood(bytes: &[u8], expected: Flood) {
    let (served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.bytes(bytes).await;
    assert_eq!(peer.go_away().await.unwrap().1, ENHANCE_YOUR_CALM, "{expected:?}");
    drop(peer);
    assert_eq!(served.ended().await, Ended::Flood(expected));
}

#[tokio::test]
async fn cve_2019_9512_pings() {
    flood(&frame(PING, 0, 0, &[0; 8]).repeat(1100), Flood::Ping).await;
}

#[tokio::test]
async fn cve_2019_9515_settings() {
    flood(&frame(SETTINGS, 0, 0, b"").repeat(100), Flood::Settings).await;
}

#[tokio::test]
async fn cve_2019_9513_priorities() {
    flood(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]).repeat(1100), Flood::Priority).await;
}

#[tokio::test]
async fn cve_2019_9518_empty_data() {
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &block(POST));
    bytes.extend_from_slice(&frame(DATA, 0, 1, b"").repeat(200));
    flood(&bytes, Flood::EmptyData).await;
}

#[tokio::test]
async fn cve_2024_27316_continuations() {
    // h2 itself allows a handful in one block.
    let mut bytes = frame(HEADERS, 0, 1, &block(GET));
    bytes.extend_from_slice(&frame(CONTINUATION, 0, 1, &block(&[("x", "1")])).repeat(100));
    flood(&bytes, Flood::Protocol).await;
    let one = [
        frame(HEADERS, END_STREAM, 1, &block(GET)),
        frame(CONTINUATION, 0, 1, b""),
        frame(CONTINUATION, END_HEADERS, 1, b""),
    ]
    .concat();
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.bytes(&one).await;
    served.request().await;
}

#[tokio::test]
async fn cve_2019_9511_tiny_windows() {
    flood(&frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(21_000), Flood::WindowUpdate)
        .await;
}

#[tokio::test]
async fn unknown_frames() {
    flood(&frame(0xbe, 0, 0, b"").repeat(200), Flood::Other).await;
}

#[tokio::test]
async fn cve_2023_44487_rapid_reset() {
    let mut bytes = Vec::new();
    for stream in (1..500).step_by(2) {
        bytes.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(GET)));
        bytes.extend_from_slice(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    flood(&bytes, Flood::Reset).await;
}

#[tokio::test]
async fn cve_2025_8671_requests_that_make_us_reset() {
    let bad = [GET, &[("host", "b")][..]].concat();
    let mut bytes = Vec::new();
    for stream in (1..400).step_by(2) {
        bytes.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&bad)));
    }
    flood(&bytes, Flood::Protocol).await;

    // Here h2 finds the error: a window that overflows.
    let (served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut stream = 1;
    let gone = loop {
        let mut bytes = Vec::new();
        for _ in 0..50 {
            bytes.extend_from_slice(&frame(HEADERS, END_HEADERS, stream, &block(POST)));
            let too_much = ((1_u32 << 31) - 1).to_be_bytes();
            bytes.extend_from_slice(&frame(WINDOW_UPDATE, 0, stream, &too_much));
            stream += 2;
        }
        peer.bytes(&bytes).await;
        if stream > 10_000 {
            break peer.go_away().await;
        }
    };
    assert_eq!(gone.unwrap().1, ENHANCE_YOUR_CALM);
    drop(peer);
    assert_eq!(served.ended().await, Ended::Flood(Flood::Protocol));
}

#[tokio::test]
async fn huge_heads_are_answered_and_monstrous_ones_end_the_connection() {
    let limits = SessionLimits { head_bytes: 1024, ..limits() };
    let (served, mut peer) = Peer::meet(limits, &[]).await;
    let fields = |count: usize| {
        let value = "v".repeat(100);
        let mut fields = GET.to_vec();
        fields.extend(std::iter::repeat_n(("x", value.as_str()), count));
        block(&fields)
    };
    peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields(15)).await;
    let answer = peer.frame().await;
    // ":status" is in the static table, and "431" a Huffman code of three bytes (RFC 7541).
    let status = [0x48, 0x83, 0x69, 0x90, 0xff];
    assert_eq!((answer.kind, &answer.payload[..5]), (HEADERS, &status[..]), "{answer:?}");
    peer.send(HEADERS, END_HEADERS | END_STREAM, 3, &fields(100)).await;
    assert_eq!(peer.go_away().await.unwrap().1, ENHANCE_YOUR_CALM);
    drop(peer);
    assert_eq!(served.ended().await, Ended::Flood(Flood::Protocol));
}

#[tokio::test]
async fn a_flood_ends_the_connection_though_the_client_reads_nothing() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let served = serve_on(ours, limits());
    let writes = tokio::spawn(async move {
        let _ = theirs.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let _ = theirs.write_all(&frame(SETTINGS, 0, 0, b"")).await;
        // Not pings: their answers would fill the pipe, and then nothing is read any more.
        let _ = theirs.write_all(&frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]).repeat(2000)).await;
        theirs
    });
    let ended = served.ended().await;
    assert_eq!(ended, Ended::Flood(Flood::Priority));
    drop(writes);
}

#[tokio::test]
async fn heads_that_drip_are_waited_for_no_longer_than_others() {
    let limits = SessionLimits { handshake: Duration::from_millis(100), ..limits() };
    let endless = [frame(HEADERS, 0, 3, &block(GET)), frame(CONTINUATION, 0, 3, b"")].concat();
    let mut cut_off = frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(GET));
    cut_off.pop();
    for head in [endless, cut_off] {
        let (mut served, mut peer) = Peer::meet(limits.clone(), &[]).await;
        // It has an open stream, and is not idle.
        peer.headers(1, END_STREAM, GET).await;
        let _open = served.request().await;
        for byte in &head {
            peer.bytes(&[*byte]).await;
        }
        assert_eq!(peer.go_away().await, Some((1, ENHANCE_YOUR_CALM)));
        assert_eq!(served.ended().await, Ended::SlowHead);
    }
}

#[tokio::test]
async fn a_head_that_came_in_time_is_late_no_more() {
    let limits = SessionLimits { handshake: Duration::from_millis(50), ..limits() };
    let (mut served, mut peer) = Peer::meet(limits, &[]).await;
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(GET));
    let (front, rest) = head.split_at(20);
    peer.bytes(front).await;
    peer.bytes(rest).await;
    let (_, mut exchange) = served.request().await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    write(&mut exchange, b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(peer.until_pong().await.last().unwrap().stream, 1);
}

/// What honest clients do most of.
#[tokio::test]
async fn honest_clients_are_not_hit() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    // A page is left: all its streams are opened and cancelled, in one packet.
    let mut bytes = Vec::new();
    for stream in (1..=100).step_by(2) {
        bytes.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(GET)));
    }
    for stream in (1..=100).step_by(2) {
        bytes.extend_from_slice(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    peer.bytes(&bytes).await;
    // A download is read: windows grow by a frame at a time.
    for _ in 0..100 {
        let grown = frame(WINDOW_UPDATE, 0, 0, &16_384_u32.to_be_bytes());
        peer.bytes(&grown.repeat(300)).await;
    }
    peer.headers(101, END_STREAM, GET).await;
    loop {
        let (_, mut exchange) = served.request().await;
        if !exchange.has_left() {
            write(&mut exchange, b"HTTP/1.1 204 No Content\r\n\r\n").await;
            break;
        }
    }
    assert_eq!(peer.until_pong().await.last().unwrap().stream, 101);
}
