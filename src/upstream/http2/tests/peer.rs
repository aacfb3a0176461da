//! A peer that speaks HTTP/2 frame by frame, as the test says.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::upstream::http2::{Exchange, Session, SessionLimits};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;

/// SETTINGS identifiers (RFC 9113 §6.5.2).
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// How long anything may take.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// One frame (RFC 9113 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// The other end of a session.
pub(super) struct Peer {
    io: DuplexStream,
}

pub(super) fn limits() -> SessionLimits {
    SessionLimits {
        https: false,
        streams: 8,
        stream_window: 65_536,
        ping_after: Duration::from_secs(60),
        pong_within: Duration::from_secs(60),
    }
}

impl Peer {
    /// A session and its peer, which has said `settings`.
    pub(super) async fn meet(limits: SessionLimits, settings: &[(u16, u32)]) -> (Session, Self) {
        let (ours, io) = tokio::io::duplex(4 << 20);
        let mut peer = Self { io };
        let hello = async {
            let mut preface = [0; 24];
            peer.io.read_exact(&mut preface).await.unwrap();
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            let mut payload = Vec::new();
            for (id, value) in settings {
                payload.extend_from_slice(&id.to_be_bytes());
                payload.extend_from_slice(&value.to_be_bytes());
            }
            peer.send(SETTINGS, 0, 0, &payload).await;
            peer.send(SETTINGS, ACK, 0, b"").await;
        };
        let (session, ()) = tokio::join!(Session::start(ours, limits), hello);
        (session.unwrap(), peer)
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.io.write_all(&frame).await.unwrap();
    }

    /// Response headers without compression; those of RFC 7541 §6.2.2.
    pub(super) async fn headers(
        &mut self,
        stream: u32,
        flags: u8,
        status: &str,
        fields: &[(&str, &str)],
    ) {
        let mut block = Vec::new();
        for (name, value) in [(":status", status)].iter().chain(fields) {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.send(HEADERS, flags | END_HEADERS, stream, &block).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    pub(super) async fn go_away(&mut self, last: u32) {
        let payload = [last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// The next frame about a stream, or a ping or GOAWAY.
    pub(super) async fn frame(&mut self) -> Frame {
        loop {
            let frame = self.any_frame().await;
            let connection_window = frame.kind == WINDOW_UPDATE && frame.stream == 0;
            if frame.kind != SETTINGS && !connection_window {
                return frame;
            }
        }
    }

    async fn any_frame(&mut self) -> Frame {
        let read = async {
            let mut head = [0; 9];
            self.io.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length as usize];
            self.io.read_exact(&mut payload).await.expect("a payload");
            Frame { kind: head[3], flags: head[4], stream, payload }
        };
        tokio::time::timeout(SOON, read).await.expect("a frame in time")
    }

    /// Everything that the session has to say up to now. Two pings: the first answer overtakes
    /// what is queued when it is written, and the second does not.
    pub(super) async fn until_pong(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for question in [b"question", b"followup"] {
            self.send(PING, 0, 0, question).await;
            loop {
                let frame = self.frame().await;
                if frame.kind == PING && frame.flags == ACK {
                    break;
                }
                frames.push(frame);
            }
        }
        frames
    }
}

/// Writes all of it.
pub(super) async fn write(exchange: &mut Exchange, text: &[u8]) {
    let written = tokio::time::timeout(SOON, exchange.write_all(text)).await;
    written.expect("written in time").unwrap();
}

/// Reads until that many bytes have come.
pub(super) async fn read(exchange: &mut Exchange, length: usize) -> String {
    let mut bytes = vec![0; length];
    let read = tokio::time::timeout(SOON, exchange.read_exact(&mut bytes)).await;
    read.expect("read in time").unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads what must be an error.
pub(super) async fn read_error(exchange: &mut Exchange) -> std::io::Error {
    let read = tokio::time::timeout(SOON, exchange.read(&mut [0; 64])).await;
    read.expect("an error in time").expect_err("no response")
}

/// Whether a read finds nothing, not even an end.
pub(super) async fn is_silent(exchange: &mut Exchange) -> bool {
    let mut byte = [0; 1];
    let mut read = std::pin::pin!(exchange.read(&mut byte));
    std::future::poll_fn(|cx| std::task::Poll::Ready(read.as_mut().poll(cx).is_pending())).await
}
