use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, Conversation, Proxy, Upstream, soon, taken};

pub const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;
pub const FIN: u8 = 0x80;

/// What the tests' clients mask with.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame as it came, unmasked: its first byte, whether it was masked, its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// Code and reason of a close frame.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(self.first, FIN | CLOSE, "a close frame: {self:?}");
        let code = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        (code, std::str::from_utf8(&self.payload[2..]).unwrap())
    }

    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let &[first, second, ..] = bytes else { return None };
        let (length, mut at) = match second & 0x7F {
            126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
            short => (usize::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let mut key = [0; 4];
        if masked {
            key = bytes.get(at..at + 4)?.try_into().unwrap();
            at += 4;
        }
        let payload = bytes.get(at..at + length)?;
        let payload =
            payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        Some((Self { first, masked, payload }, at + length))
    }
}

/// A frame with that first byte.
pub fn frame(first: u8, payload: impl AsRef<[u8]>, key: Option<[u8; 4]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(mask | short as u8),
        middle @ 126..=0xFFFF => {
            bytes.push(mask | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(mask | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(key.iter().flatten());
    let key = key.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The payload of a close frame.
pub fn bye(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// One end of a WebSocket after its handshake.
pub struct Ws {
    pub stream: TcpStream,
    pub inbox: Vec<u8>,
    /// Set at the client's end.
    pub key: Option<[u8; 4]>,
}

impl Ws {
    /// A client's end, through the proxy.
    pub async fn open(proxy: &Proxy) -> Self {
        Self::ask(proxy.client().await, ASK).await
    }

    /// The same on that connection, with that request.
    pub async fn ask(mut client: Client, request: &str) -> Self {
        client.send(request).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{request}\n{head}");
        Self { stream: client.stream, inbox: client.inbox, key: Some(KEY) }
    }

    /// An upstream's end, which has not answered yet.
    pub fn of(conversation: Conversation) -> Self {
        Self { stream: conversation.stream, inbox: conversation.inbox, key: None }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("the bytes to go out", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// A whole message, or a control frame.
    pub async fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        let bytes = frame(FIN | opcode, payload, self.key);
        self.write(bytes).await;
    }

    /// The next frame; `None` at the end, which must not be in a frame.
    pub async fn try_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.inbox) {
                self.inbox.drain(..length);
                assert_eq!(frame.masked, self.key.is_none(), "the client's are masked: {frame:?}");
                return Some(frame);
            }
            let mut space = [0; 16 * 1024];
            let count = soon("a frame", self.stream.read(&mut space)).await.unwrap_or(0);
            if count == 0 {
                assert!(self.inbox.is_empty(), "the end came in a frame: {:02X?}", self.inbox);
                return None;
            }
            self.inbox.extend_from_slice(&space[..count]);
        }
    }

    pub async fn frame(&mut self) -> Frame {
        self.try_frame().await.expect("a frame, not the end")
    }

    /// The next frame is that message in one frame.
    pub async fn gets(&mut self, text: &str) {
        let frame = self.frame().await;
        assert_eq!(frame.first, FIN | TEXT, "a text: {frame:?}");
        assert_eq!(String::from_utf8(frame.payload).unwrap(), text);
    }

    /// Code and reason of the close frame that comes next.
    pub async fn gets_close(&mut self) -> (u16, String) {
        let frame = self.frame().await;
        let (code, reason) = frame.close();
        (code, reason.to_owned())
    }

    /// The connection ends without another frame.
    pub async fn ends(&mut self) {
        let frame = self.try_frame().await;
        assert_eq!(frame, None, "the end");
    }

    /// Answers pings until something else comes.
    pub async fn frame_after_pings(&mut self) -> Option<Frame> {
        loop {
            let frame = self.try_frame().await?;
            if frame.opcode() != PING {
                return Some(frame);
            }
            self.send(PONG, frame.payload).await;
        }
    }

    /// Sends everything back until a close frame, which is sent back too.
    pub async fn echo(mut self) {
        while let Some(frame) = self.try_frame().await {
            self.send(frame.opcode(), &frame.payload).await;
            if frame.opcode() == CLOSE {
                break;
            }
        }
    }

    /// Reads until the end, saying nothing.
    pub async fn hold(mut self) {
        let mut space = [0; 16 * 1024];
        while self.stream.read(&mut space).await.is_ok_and(|count| count > 0) {}
    }

    pub async fn shut_down(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// An upstream that agrees to every WebSocket and goes on as `script` says.
pub async fn agreeing<S, F>(script: S) -> Upstream
where
    S: Fn(Ws) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let script = Arc::new(script);
    Upstream::serve(move |mut upstream| {
        let script = Arc::clone(&script);
        async move {
            upstream.request().await;
            upstream.write(AGREE).await;
            script(Ws::of(upstream)).await;
        }
    })
    .await
}

/// Why the only WebSocket ended; its log line too. Nothing of it may be left.
pub async fn ended(proxy: &Proxy, reason: &str) -> serde_json::Value {
    assert_eq!(proxy.reason().await, reason, "{:?}", proxy.log("end"));
    let end = proxy.log("end").remove(0);
    assert_eq!((&end["status"], &end["kind"]), (&101.into(), &"websocket".into()), "{end}");
    let websocket = "kind=\"websocket\"";
    let label = format!("reason=\"{reason}\"");
    assert_eq!(proxy.sum(&["streams_opened_total{", websocket]).await, 1.0);
    assert_eq!(proxy.sum(&["streams_closed_total{", websocket]).await, 1.0);
    assert_eq!(proxy.sum(&["streams_closed_total{", websocket, &label]).await, 1.0);
    assert_eq!(proxy.sum(&["streams_active{"]).await, 0.0, "nothing is active");
    assert_eq!(proxy.sum(&["upstream_connections{"]).await, 0.0, "no connection is kept");
    assert_eq!(proxy.sum(&["upstream_endpoint_streams{"]).await, 0.0, "no seat is taken");
    end
}

/// `[routes.all.websocket]`.
pub fn rules(lines: &str) -> String {
    format!("[routes.all.websocket]\n{lines}")
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// === Handshake ===

#[tokio::test]
async fn upgrade_and_connection_may_stand_in_any_case_and_list_position() {
    let upstream = agreeing(Ws::echo).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let cases = [
        ("Upgrade", "websocket"),
        ("keep-alive, Upgrade", "WebSocket"),
        ("UPGRADE,keep-alive", "WEBSOCKET"),
        ("keep-alive\r\nConnection: upgrade", "h2c, websocket"),
        ("upgrade", "websocket\r\nUpgrade: h2c"),
    ];
    for (connection, upgrade) in cases {
        let ask = ASK
            .replace("Connection: Upgrade", &format!("Connection: {connection}"))
            .replace("Upgrade: websocket", &format!("Upgrade: {upgrade}"));
        let mut client = Ws::ask(proxy.client().await, &ask).await;
        client.send(TEXT, "hello").await;
        client.gets("hello").await;
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), cases.len());
    for request in requests {
        let lower = request.to_ascii_lowercase();
        let field = |name: &str| -> Vec<&str> {
            lower.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim).collect()
        };
        assert_eq!(field("upgrade:"), ["websocket"], "{request}");
        assert_eq!(field("connection:"), ["upgrade"], "{request}");
        assert_eq!(field("sec-websocket-version:"), ["13"], "{request}");
        assert!(request.contains("dGhlIHNhbXBsZSBub25jZQ=="), "the key: {request}");
        assert_eq!(field("x-forwarded-for:"), ["127.0.0.1"], "{request}");
        assert_eq!(field("x-forwarded-proto:"), ["http"], "{request}");
        assert_eq!(field("x-forwarded-host:"), ["test"], "{request}");
    }
}

#[tokio::test]
async fn the_answer_passes_with_its_key_subprotocol_and_extensions() {
    let compressed = frame(FIN | 0x40 | TEXT, [0xF2, 0x48, 0xCD], None);
    let upwards = frame(FIN | 0x40 | TEXT, [0xF2, 0x48, 0xCD], Some(KEY));
    let (down, up) = (compressed.clone(), upwards.clone());
    let upstream = Upstream::serve(move |mut upstream| {
        let (down, up) = (down.clone(), up.clone());
        async move {
            let request = upstream.request().await;
            assert!(request.contains("Sec-WebSocket-Protocol: chat, superchat\r\n"), "{request}");
            let extensions =
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
            assert!(request.contains(extensions), "{request}");
            let fields = "Sec-WebSocket-Protocol: superchat\r\n\
                Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n";
            upstream.write(AGREE.replace("=\r\n\r\n", &format!("=\r\n{fields}"))).await;
            assert_eq!(upstream.bytes(up.len()).await, up, "RSV1 passes, byte for byte");
            upstream.write(down).await;
            upstream.closed().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    let fields = "Sec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n";
    client.send(ASK.replace("==\r\n\r\n", &format!("==\r\n{fields}"))).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in [
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Protocol: superchat",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
        "Upgrade: websocket",
        "Connection: Upgrade",
    ] {
        assert_eq!(head.lines().filter(|given| *given == line).count(), 1, "{line}\n{head}");
    }
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("content-length") && !lower.contains("transfer-encoding"), "{head}");
    client.send(&upwards).await;
    let mut client = Ws { stream: client.stream, inbox: client.inbox, key: Some(KEY) };
    assert_eq!(client.frame().await.first, FIN | 0x40 | TEXT);
}

#[tokio::test]
async fn a_bad_handshake_is_refused_and_the_connection_stays() {
    let upstream = agreeing(Ws::echo).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let cases = [
        (key, "", 400),
        (key, "Sec-WebSocket-Key:\r\n", 400),
        (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n", 400),
        (
            key,
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            400,
        ),
        (version, "", 426),
        (version, "Sec-WebSocket-Version: 12\r\n", 426),
        (version, "Sec-WebSocket-Version: 13, 8\r\n", 426),
        ("GET ", "POST ", 400),
        ("Host: test\r\n", "Host: test\r\nContent-Length: 2\r\n", 400),
    ];
    for (old, new, status) in cases {
        println!("case: {new:?}");
        let mut client = proxy.client().await;
        client.send(ASK.replace(old, new)).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.error().1, u64::from(status));
        let said = response.field("sec-websocket-version");
        assert_eq!(said, (status == 426).then_some("13"), "{response:?}");
        if !new.contains("Length: 2") {
            let mut client = Ws::ask(client, ASK).await;
            client.send(TEXT, "after all").await;
            client.gets("after all").await;
        }
    }
    assert!(upstream.requests().iter().all(|request| request.contains("ZQ==\r\n")));
    assert_eq!(upstream.connections(), cases.len() - 1, "no refused one went up");
}

#[tokio::test]
async fn pages_of_other_origins_may_not_connect_unless_listed() {
    let upstream = agreeing(Ws::hold).await;
    let app = "origins = [\"https://app.example.com\"]";
    let cases = [
        (
            "",
            &["http://test", "https://test", "HTTPS://TEST"][..],
            &["http://evil.example", "null", "http://test:81", "http://test.evil"][..],
        ),
        (
            app,
            &["https://app.example.com", "https://app.example.com:443"],
            &["http://test", "https://app.example.com.evil", "http://app.example.com"],
        ),
        ("origins = [\"*\"]", &["http://evil.example", "null"], &[]),
    ];
    for (config, allowed, refused) in cases {
        let rules = format!("[routes.all.websocket]\n{config}");
        let proxy = Proxy::to(upstream.address).tables(&rules).start().await;
        Ws::open(&proxy).await;
        for origin in allowed {
            let ask = ASK.replace("Host: test", &format!("Host: test\r\nOrigin: {origin}"));
            Ws::ask(proxy.client().await, &ask).await;
        }
        for origin in refused {
            let mut client = proxy.client().await;
            client
                .send(ASK.replace("Host: test", &format!("Host: test\r\nOrigin: {origin}")))
                .await;
            let response = client.response().await;
            assert_eq!(response.error(), ("origin_not_allowed".into(), 403), "{config} {origin}");
        }
    }
}

#[tokio::test]
async fn http_1_0_and_a_lone_upgrade_field_are_ordinary_requests() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::to(upstream.address).start().await;
    for (old, new) in [("HTTP/1.1", "HTTP/1.0"), ("Connection: Upgrade\r\n", "")] {
        let mut client = proxy.client().await;
        client.send(ASK.replace(old, new)).await;
        assert_eq!(client.response().await.text(), "ok");
    }
    for request in upstream.requests() {
        assert!(!request.to_ascii_lowercase().contains("\r\nupgrade:"), "{request}");
    }
}

#[tokio::test]
async fn a_refusal_by_the_upstream_is_an_ordinary_response() {
    for refusal in ["403 Forbidden\r\nContent-Length: 2", "200 OK\r\nTransfer-Encoding: chunked"] {
        let upstream = Upstream::serve(move |mut upstream| async move {
            let body = if refusal.starts_with("403") { "no" } else { "2\r\nno\r\n0\r\n\r\n" };
            upstream.request().await;
            upstream.write(format!("HTTP/1.1 {refusal}\r\n\r\n{body}")).await;
            upstream.request().await;
            upstream.write(AGREE).await;
            Ws::of(upstream).echo().await;
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        client.send(ASK).await;
        let response = client.response().await;
        assert_eq!((response.text(), response.complete), ("no", true), "{response:?}");
        assert_eq!(response.field("upgrade"), None, "{response:?}");
        let end = proxy.logged("end", 1).await.remove(0);
        assert_ne!(end["kind"], "websocket", "{end}");
        let mut client = Ws::ask(client, ASK).await;
        client.send(TEXT, "now").await;
        client.gets("now").await;
        assert_eq!(upstream.connections(), 1, "the upstream connection stayed usable too");
    }
}

#[tokio::test]
async fn a_101_for_something_else_is_502() {
    let other = AGREE.replace("Upgrade: websocket", "Upgrade: foo");
    let lone = AGREE.replace("Connection: Upgrade\r\n", "");
    for (answer, ask) in [
        (other, ASK.to_owned()),
        (lone, ASK.to_owned()),
        (AGREE.to_owned(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
    ] {
        let upstream = Upstream::serve(move |mut upstream| {
            let answer = answer.clone();
            async move {
                upstream.request().await;
                upstream.write(answer).await;
                upstream.closed().await;
            }
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        client.send(ask).await;
        assert_eq!(client.response().await.error(), ("protocol_error".into(), 502));
        assert_eq!(proxy.reason().await, "protocol_error");
    }
}

#[tokio::test]
async fn frames_sent_before_the_101_wait_for_it() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        let early = tokio::time::timeout(Duration::from_millis(300), upstream.stream.readable());
        assert!(upstream.inbox.is_empty() && early.await.is_err(), "nothing before the answer");
        upstream.write(AGREE).await;
        let mut upstream = Ws::of(upstream);
        upstream.gets("early").await;
        upstream.gets("later").await;
        upstream.send(TEXT, "both").await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    let early = frame(FIN | TEXT, "early", Some(KEY));
    // Behind the request in the same packet, and in one of its own.
    client.send([ASK.as_bytes(), &early[..4]].concat()).await;
    taken(&client.stream).await;
    client.send(&early[4..]).await;
    let mut client = Ws::ask(client, "").await;
    client.send(TEXT, "later").await;
    client.gets("both").await;
}

#[tokio::test]
async fn frames_in_the_packet_of_the_101_arrive() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        let whole = frame(FIN | TEXT, "at once", None);
        let cut = frame(FIN | TEXT, "cut", None);
        upstream.write([AGREE.as_bytes(), &whole, &cut[..3]].concat()).await;
        taken(&upstream.stream).await;
        upstream.write(&cut[3..]).await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = Ws::open(&proxy).await;
    client.gets("at once").await;
    client.gets("cut").await;
}

// === Other protocols ===

#[tokio::test]
async fn a_listed_protocol_is_tunnelled_opaquely_with_half_close() {
    let opaque: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let expected = opaque.clone();
    let upstream = Upstream::serve(move |mut upstream| {
        let expected = expected.clone();
        async move {
            let request = upstream.request().await.to_ascii_lowercase();
            assert!(request.contains("\r\nupgrade: foo\r\n"), "{request}");
            assert!(request.contains("\r\nconnection: upgrade\r\n"), "{request}");
            upstream
                .write("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: Foo\r\n\r\nearly")
                .await;
            assert_eq!(upstream.bytes(expected.len()).await, expected);
            upstream.closed().await;
            upstream.write(&expected).await;
        }
    })
    .await;
    let rules = "upgrade = [\"websocket\", \"foo\"]";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n").await;
    assert!(client.head().await.to_ascii_lowercase().contains("\r\nupgrade: foo\r\n"));
    client.send(&opaque).await;
    client.stream.shutdown().await.unwrap();
    let mut got = std::mem::take(&mut client.inbox);
    soon("the end", client.stream.read_to_end(&mut got)).await.unwrap();
    assert!(got == [b"early", &opaque[..]].concat(), "{} bytes came back", got.len());
    assert_eq!(proxy.reason().await, "completed");
    assert_eq!(proxy.sum(&["streams_active{"]).await, 0.0);
}

#[tokio::test]
async fn an_unlisted_protocol_is_removed_and_the_request_is_ordinary() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::to(upstream.address).route("upgrade = []").start().await;
    let mut client = proxy.client().await;
    for ask in [ASK.to_owned(), ASK.replace("Upgrade: websocket", "Upgrade: h2c")] {
        client.send(&ask).await;
        assert_eq!(client.response().await.text(), "ok", "on a connection that stays");
    }
    for request in upstream.requests() {
        let lower = request.to_ascii_lowercase();
        assert!(!lower.contains("\r\nupgrade:") && !lower.contains(": upgrade"), "{request}");
    }
}
