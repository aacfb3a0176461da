//! A session, what its handler gets, and clients: h2's, and one that speaks frame by frame.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::http2::{Ended, Exchange, SessionLimits, serve};
use crate::http1::head::RequestHead;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const CANCEL: u32 = 8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// SETTINGS identifiers (RFC 9113 §6.5.2).
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// How long anything may take.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// A session that is served, as its host sees it.
pub(super) struct Served {
    requests: mpsc::UnboundedReceiver<(RequestHead, Exchange)>,
    ended: JoinHandle<Ended>,
    pub(super) shutdown: watch::Sender<bool>,
}

/// Serves `io`; requests come to whoever asks for the next.
pub(super) fn serve_on(io: DuplexStream, limits: SessionLimits) -> Served {
    let (shutdown, watch) = watch::channel(false);
    let (sender, requests) = mpsc::unbounded_channel();
    let ended = tokio::spawn(async move {
        serve(io, &limits, watch, move |head, exchange| {
            let _ = sender.send((head, exchange));
            std::future::ready(())
        })
        .await
    });
    Served { requests, ended, shutdown }
}

impl Served {
    /// The next request.
    pub(super) async fn request(&mut self) -> (RequestHead, Exchange) {
        soon("a request", self.requests.recv()).await.expect("the session is there")
    }

    /// How the session ended.
    pub(super) async fn ended(self) -> Ended {
        soon("the end", self.ended).await.unwrap()
    }
}

/// Fails if it takes too long.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(SOON, future).await;
    result.unwrap_or_else(|_| panic!("{what} in time"))
}

/// A session and h2's client with this builder.
pub(super) async fn meet(
    limits: SessionLimits,
    builder: &h2::client::Builder,
) -> (Served, SendRequest<Bytes>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let served = serve_on(ours, limits);
    let (sender, connection) = soon("a handshake", builder.handshake(theirs)).await.unwrap();
    tokio::spawn(async move {
        // How it ends is what the session is asked.
        let _ = connection.await;
    });
    (served, sender)
}

/// One frame (RFC 9113 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// A client that speaks frame by frame.
pub(super) struct Peer {
    io: DuplexStream,
}

/// As bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A block of fields without compression; those of RFC 7541 §6.2.2.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The fields of a request without others.
pub(super) const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
/// The same with a body to come.
pub(super) const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

impl Peer {
    /// A session and its client, which has said `settings`.
    pub(super) async fn meet(limits: SessionLimits, settings: &[(u16, u32)]) -> (Served, Self) {
        let (ours, io) = tokio::io::duplex(4 << 20);
        let served = serve_on(ours, limits);
        let mut peer = Self { io };
        peer.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        peer.send(SETTINGS, 0, 0, &payload).await;
        (served, peer)
    }

    /// Writes them, if the connection still takes them.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) {
        self.takes(bytes).await;
    }

    /// Whether the connection still takes them.
    pub(super) async fn takes(&mut self, bytes: &[u8]) -> bool {
        soon("a write", self.io.write_all(bytes)).await.is_ok()
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.bytes(&frame(kind, flags, stream, payload)).await;
    }

    pub(super) async fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(HEADERS, flags | END_HEADERS, stream, &block(fields)).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    /// The next frame about a stream, or a ping or GOAWAY; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = soon("a frame", self.any()).await?;
            let connection_window = frame.kind == WINDOW_UPDATE && frame.stream == 0;
            if frame.kind != SETTINGS && !connection_window {
                return Some(frame);
            }
        }
    }

    /// The next frame, as [`Self::next`].
    pub(super) async fn frame(&mut self) -> Frame {
        self.next().await.expect("a frame")
    }

    async fn any(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.io.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
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

    /// The last stream and the code of the next GOAWAY; others are read over.
    pub(super) async fn go_away(&mut self) -> Option<(u32, u32)> {
        loop {
            let frame = self.next().await?;
            if frame.kind == GOAWAY {
                let word = |at: usize| frame.payload[at..at + 4].try_into().unwrap();
                return Some((u32::from_be_bytes(word(0)), u32::from_be_bytes(word(4))));
            }
        }
    }
}

/// Writes all of it.
pub(super) async fn write(exchange: &mut Exchange, text: &[u8]) {
    soon("a write", exchange.write_all(text)).await.unwrap();
}

/// Reads until that many bytes have come.
pub(super) async fn read(exchange: &mut Exchange, length: usize) -> String {
    let mut bytes = vec![0; length];
    soon("a read", exchange.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Whether a read finds nothing, not even an end.
pub(super) async fn is_silent(exchange: &mut Exchange) -> bool {
    let mut byte = [0; 1];
    let mut read = std::pin::pin!(exchange.read(&mut byte));
    std::future::poll_fn(|cx| std::task::Poll::Ready(read.as_mut().poll(cx).is_pending())).await
}

/// One try to write: how many bytes were taken, `None` if it has to wait.
pub(super) async fn try_write(exchange: &mut Exchange, text: &[u8]) -> Option<usize> {
    let mut write = std::pin::pin!(exchange.write(text));
    std::future::poll_fn(|cx| match write.as_mut().poll(cx) {
        std::task::Poll::Ready(taken) => std::task::Poll::Ready(Some(taken.unwrap())),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
