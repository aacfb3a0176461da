//! WebSockets over HTTP/2 (RFC 8441).

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::ext::Protocol;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::peer::*;
use crate::client::http2::{Exchange, SessionLimits};
use crate::http1::head::RequestHead;
use crate::ws::handshake;

fn asks(protocol: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("https://a/chat")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

/// A client that has heard that it may ask.
async fn meet_extended() -> (Served, SendRequest<Bytes>) {
    let (served, client) = meet(SessionLimits::default(), &Builder::new()).await;
    let allowed = async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    };
    soon("SETTINGS_ENABLE_CONNECT_PROTOCOL", allowed).await;
    (served, client)
}

fn switching(head: &RequestHead) -> String {
    let accept = handshake::accept(head.fields.get("sec-websocket-key").unwrap());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

async fn echo(mut exchange: Exchange) {
    let mut bytes = [0; 64];
    loop {
        let count = exchange.read(&mut bytes).await.unwrap();
        if count == 0 {
            return exchange.shutdown().await.unwrap();
        }
        exchange.write_all(&bytes[..count]).await.unwrap();
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_until_both_have_ended() {
    let (mut served, mut client) = meet_extended().await;
    let (response, mut stream) = client.send_request(asks("websocket"), false).unwrap();
    let (head, mut exchange) = served.request().await;
    assert_eq!((&head.method[..], &head.target[..]), ("GET", "/chat"));
    write(&mut exchange, switching(&head).as_bytes()).await;
    let echo = tokio::spawn(echo(exchange));
    let response = soon("a response", response).await.unwrap();
    assert_eq!(response.status(), 200);
    let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["sec-websocket-protocol"]);
    let mut answers = response.into_body();
    for word in ["5\r\nraw\r\n", "0\r\n\r\n"] {
        stream.send_data(word.into(), false).unwrap();
        assert_eq!(soon("an echo", answers.data()).await.unwrap().unwrap(), word);
    }
    stream.send_data(Bytes::new(), true).unwrap();
    // A frame without data says so.
    while let Some(data) = soon("the end", answers.data()).await {
        assert_eq!(data.expect("a clean end"), "");
    }
    assert!(answers.is_end_stream());
    soon("the end", echo).await.unwrap();
}

#[tokio::test]
async fn a_broken_one_is_cancelled_as_a_reset_would() {
    let (mut served, mut client) = meet_extended().await;
    let (response, _stream) = client.send_request(asks("websocket"), false).unwrap();
    let (head, mut exchange) = served.request().await;
    write(&mut exchange, switching(&head).as_bytes()).await;
    let mut answers = soon("a response", response).await.unwrap().into_body();
    drop(exchange);
    let error = soon("a reset", answers.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_opens_nothing() {
    let (mut served, mut client) = meet_extended().await;
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (response, _stream) = client.send_request(asks("websocket"), false).unwrap();
        let (_, mut exchange) = served.request().await;
        assert!(exchange.write_all(answer.as_bytes()).await.is_err(), "{answer}");
        drop(exchange);
        assert_eq!(soon("a response", response).await.unwrap().status(), 502, "{answer}");
    }
    let (response, _stream) = client.send_request(asks("websocket"), false).unwrap();
    let (_, mut exchange) = served.request().await;
    write(&mut exchange, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    drop(exchange);
    let response = soon("a response", response).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(soon("a body", response.into_body().data()).await.unwrap().unwrap(), "no");
}

#[tokio::test]
async fn other_protocols_are_not_known() {
    let (_served, mut client) = meet_extended().await;
    let (response, _stream) = client.send_request(asks("connect-udp"), false).unwrap();
    assert_eq!(soon("a response", response).await.unwrap().status(), 501);
}

const CONNECT: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "a"),
    (":path", "/"),
    ("sec-websocket-version", "13"),
];

/// A client may say farewell with a close frame and reset the stream behind it in the same packet.
#[tokio::test]
async fn what_comes_before_a_reset_is_read() {
    for flags in [0, END_STREAM] {
        let (mut served, mut peer) = Peer::meet(SessionLimits::default(), &[]).await;
        peer.headers(1, 0, CONNECT).await;
        let (head, mut exchange) = served.request().await;
        write(&mut exchange, switching(&head).as_bytes()).await;
        assert!(is_silent(&mut exchange).await);
        peer.bytes(
            &[frame(DATA, flags, 1, b"bye"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat(),
        )
        .await;
        peer.until_pong().await;
        assert_eq!(read(&mut exchange, 3).await, "bye", "flags {flags}");
        let mut rest = Vec::new();
        let end = soon("the end", exchange.read_to_end(&mut rest)).await;
        assert_eq!((end.is_ok(), rest.len()), (flags == END_STREAM, 0), "{end:?}");
    }
}
