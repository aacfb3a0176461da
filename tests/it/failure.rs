use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpSocket;
use tokio::sync::Notify;

use crate::harness::{Client, Conversation, Proxy, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An address that refuses connections for as long as the socket lives: nobody else can have it.
fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// What must be true after an exchange that ended so, when nothing else was asked: one reason, the
/// same in the log and in the counters, and nothing left open.
async fn ended(proxy: &mut Proxy, status: u16, kind: &str, reason: &str) {
    assert_eq!(proxy.reason().await, reason, "in the log");
    let end = &proxy.log("end")[0];
    assert_eq!((&end["status"], &end["kind"]), (&status.into(), &kind.into()), "{end}");
    let label = format!("reason=\"{reason}\"");
    let closed = "longwire_streams_closed_total{";
    assert_eq!(proxy.sum(&[closed, &label, &format!("kind=\"{kind}\"")]).await, 1.0, "{reason}");
    assert_eq!(proxy.sum(&[closed]).await, 1.0, "there is one reason, and it is counted once");
    assert_eq!(proxy.sum(&["longwire_streams_opened_total{"]).await, 1.0, "opened == closed");
    assert_eq!(proxy.sum(&["longwire_streams_active{"]).await, 0.0, "nothing is active");
    assert_eq!(proxy.sum(&["longwire_upstream_endpoint_streams{"]).await, 0.0, "no seat is taken");
    assert_eq!(proxy.sum(&["longwire_upstream_connections{"]).await, 0.0, "no connection is kept");
    let code = format!("code=\"{status}\"");
    assert_eq!(proxy.sum(&["longwire_requests_total{", &code]).await, 1.0, "{code}");
    assert!(proxy.is_running(), "the process survives");
}

/// The upstream does that to a request; the client must get an error of ours, and its connection
/// stays.
async fn fails<S, F>(script: S, status: u16, error: &str, reason: &str)
where
    S: Fn(Conversation) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let upstream = Upstream::serve(script).await;
    let mut proxy = Proxy::to(upstream.address)
        .tables("[routes.own]\npaths = [\"=/own\"]\nrespond = { status = 200, body = \"own\" }")
        .start()
        .await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    let so_far: String = response.head.chars().take(200).collect();
    assert_eq!(response.status, status, "{so_far}");
    assert_eq!(response.error(), (error.to_owned(), u64::from(status)), "{response:?}");
    assert_eq!(response.field("content-type"), Some("application/json"), "{response:?}");
    assert_eq!(response.field("connection"), None, "the request was read whole: {response:?}");
    ended(&mut proxy, status, "http", reason).await;
    client.get("/own").await;
    assert_eq!(client.response().await.text(), "own", "the client's connection goes on");
    assert_eq!(proxy.log("end")[0]["endpoint"], upstream.address.to_string(), "who is to blame");
    assert_eq!(upstream.connections(), 1, "a request that was received is not repeated");
}

#[tokio::test]
async fn a_reset_before_the_head_is_502() {
    let reset = |mut upstream: Conversation| async move {
        upstream.request().await;
        upstream.reset();
    };
    fails(reset, 502, "upstream_reset", "upstream_reset").await;
}

#[tokio::test]
async fn a_close_before_the_head_is_502() {
    let close = |mut upstream: Conversation| async move {
        upstream.request().await;
    };
    fails(close, 502, "upstream_reset", "upstream_reset").await;
}

#[tokio::test]
async fn half_a_head_is_502() {
    for half in ["H", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"] {
        let half = move |mut upstream: Conversation| async move {
            upstream.request().await;
            upstream.write(half).await;
        };
        fails(half, 502, "upstream_reset", "upstream_reset").await;
    }
}

#[tokio::test]
async fn an_interim_response_and_then_nothing_is_502() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert!(client.head().await.starts_with("HTTP/1.1 103 "));
    assert_eq!(client.response().await.error(), ("upstream_reset".into(), 502));
    ended(&mut proxy, 502, "http", "upstream_reset").await;
}

#[tokio::test]
async fn what_is_not_a_response_is_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\x15\x03\x01\0\x02\x02\x0a",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 999 Odd\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        println!("case: {garbage:?}");
        let script = move |mut upstream: Conversation| async move {
            upstream.request().await;
            upstream.write(garbage).await;
            upstream.closed().await;
        };
        fails(script, 502, "protocol_error", "protocol_error").await;
    }
}

#[tokio::test]
async fn nobody_may_switch_protocols_unasked() {
    let switch = |mut upstream: Conversation| async move {
        let request = upstream.request().await;
        assert!(!request.to_ascii_lowercase().contains("upgrade"), "{request}");
        upstream
            .write(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            )
            .await;
        upstream.closed().await;
    };
    fails(switch, 502, "protocol_error", "protocol_error").await;
}

#[tokio::test]
async fn a_head_above_64_kib_is_502_whether_it_ends_or_not() {
    for end in ["\r\n\r\n", ""] {
        println!("a head that ends with {end:?}");
        let script = move |mut upstream: Conversation| async move {
            upstream.request().await;
            let long = "x".repeat(70 * 1024);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {long}{end}");
            // It is closed before it has taken all.
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut upstream.stream, head.as_bytes()).await;
            upstream.closed().await;
        };
        fails(script, 502, "protocol_error", "protocol_error").await;
    }
}

#[tokio::test]
async fn a_head_below_64_kib_passes() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        let long = "x".repeat(60 * 1024);
        upstream
            .write(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: {long}\r\n\r\nok"))
            .await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert_eq!(response.field("x").map(str::len), Some(60 * 1024));
    assert_eq!(response.text(), "ok");
}

#[tokio::test]
async fn an_upstream_that_closes_during_the_upload_is_502_and_the_connection_ends() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream.bytes(1000).await;
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.post("/", &vec![b'x'; 4 << 20]).await;
    let response = client.response().await;
    assert_eq!(response.error(), ("upstream_reset".into(), 502));
    assert_eq!(response.field("connection"), Some("close"), "its body was not read");
    assert!(!client.ends().await, "the answer is followed by a FIN");
    ended(&mut proxy, 502, "http", "upstream_reset").await;
}

#[tokio::test]
async fn a_refused_connection_is_502_and_says_so() {
    let (address, _socket) = refusing();
    let mut proxy = Proxy::to(address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert_eq!(response.error(), ("connect_refused".into(), 502));
    assert_eq!(response.field("connection"), None, "{response:?}");
    ended(&mut proxy, 502, "http", "upstream_reset").await;
    assert_eq!(proxy.metric(&["longwire_upstream_connects_total{", "\"refused\""]).await, 1.0);
    assert_eq!(proxy.sum(&["longwire_upstream_retries_total{"]).await, 0.0, "there is no other");
    let end = &proxy.log("end")[0];
    assert_eq!((&end["endpoint"], &end["connection"]), (&"".into(), &"none".into()), "{end}");
    client.get("/").await;
    assert_eq!(client.response().await.status, 502, "the client's connection goes on");
}

#[tokio::test]
async fn a_body_for_a_refused_upstream_is_never_taken_for_a_request() {
    let (address, _socket) = refusing();
    let proxy = Proxy::to(address).start().await;
    let mut client = proxy.client().await;
    client.post("/", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.error(), ("connect_refused".into(), 502));
    assert_eq!(proxy.reason().await, "upstream_reset");
    // A body that was read leaves the connection at the next request; one that was not ends it.
    if response.field("connection") == Some("close") {
        assert!(!client.ends().await, "and nothing more is answered");
        return;
    }
    client.get("/next").await;
    assert_eq!(client.response().await.status, 502);
    let paths: Vec<_> = proxy.logged("end", 2).await.iter().map(|e| e["path"].clone()).collect();
    assert_eq!(paths, ["/", "/next"], "nothing else was taken for a request");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let (address, _socket) = refusing();
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to_all(&[address, upstream.address]).start().await;
    let mut client = proxy.client().await;
    for number in 1..=20 {
        client.post("/", b"hello").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "ok"), "request {number}");
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 20);
    assert!(requests.iter().all(|request| request.ends_with("\r\n\r\nhello")), "with its body");
    let ends = proxy.logged("end", 20).await;
    assert!(ends.iter().all(|end| end["endpoint"] == upstream.address.to_string()), "{ends:?}");
    let refused = proxy.sum(&["longwire_upstream_connects_total{", "\"refused\""]).await;
    assert!(refused >= 1.0, "it was tried");
    let retries =
        ["longwire_upstream_retries_total{", "cause=\"connect_error\"", "upstream=\"up\""];
    assert_eq!(proxy.metric(&retries).await, refused, "each of them went on to the other");
    assert_eq!(proxy.sum(&["longwire_upstream_endpoint_streams{"]).await, 0.0);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_not_the_first_choice_of_everybody() {
    let (address, _socket) = refusing();
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to_all(&[address, upstream.address]).start().await;
    for number in 1..=20 {
        let mut client = proxy.client().await;
        client.get("/").await;
        assert_eq!(client.response().await.status, 200);
        proxy.logged("end", number).await;
    }
    let refused = proxy.sum(&["longwire_upstream_connects_total{", "\"refused\""]).await;
    assert!(refused <= 11.0, "equals take turns, but {refused} of 20 met the dead one first");
}

#[tokio::test]
async fn when_all_endpoints_refuse_each_is_tried_once() {
    let (sockets, addresses): (Vec<_>, Vec<_>) =
        [refusing(), refusing(), refusing()].into_iter().map(|(a, socket)| (socket, a)).unzip();
    let mut proxy = Proxy::to_all(&addresses).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.error(), ("connect_refused".into(), 502));
    for address in addresses {
        let endpoint = format!("endpoint=\"{address}\"");
        let refused = ["longwire_upstream_connects_total{", "\"refused\"", &endpoint];
        assert_eq!(proxy.metric(&refused).await, 1.0, "{address}");
    }
    assert_eq!(proxy.sum(&["longwire_upstream_retries_total{"]).await, 2.0);
    ended(&mut proxy, 502, "http", "upstream_reset").await;
    drop(sockets);
}

#[tokio::test]
async fn the_endpoint_with_fewer_streams_takes_the_next() {
    let held = |mut upstream: Conversation| async move {
        while upstream.try_request().await.is_some_and(|request| !request.contains("/stream")) {
            upstream.write(OK).await;
        }
        upstream.write(CHUNKED).await;
        upstream.hold().await;
    };
    let (first, second) = (Upstream::serve(held).await, Upstream::serve(held).await);
    let proxy = Proxy::to_all(&[first.address, second.address]).start().await;
    let mut streams = Vec::new();
    for count in 1..=3 {
        let mut pair = Vec::new();
        for _ in 0..2 {
            let mut client = proxy.client().await;
            client.get("/stream").await;
            client.head().await;
            pair.push(client);
        }
        streams.extend(pair);
        for upstream in [&first, &second] {
            assert_eq!(upstream.open(), count, "a pair of streams goes to a pair of endpoints");
        }
    }
    let mut client = proxy.client().await;
    client.get("/stream").await;
    client.head().await;
    let (fuller, emptier) = if first.open() == 4 { (&first, &second) } else { (&second, &first) };
    let before = fuller.requests().len();
    for number in 1..=10 {
        let mut client = proxy.client().await;
        client.get("/short").await;
        assert_eq!(client.response().await.text(), "ok");
        proxy.logged("end", number).await;
    }
    assert_eq!(fuller.requests().len(), before, "the fuller one gets none of ten");
    assert_eq!(emptier.requests().len(), 3 + 10);
    let seats = |upstream: &Upstream| format!("endpoint=\"{}\"", upstream.address);
    let gauge = "longwire_upstream_endpoint_streams{";
    assert_eq!(proxy.metric(&[gauge, &seats(fuller)]).await, 4.0);
    assert_eq!(proxy.metric(&[gauge, &seats(emptier)]).await, 3.0);
}

/// How a body that has begun ends, once the client has read `good` from it.
#[derive(Clone, Copy)]
enum Cut {
    Reset,
    Close,
    /// Bytes that cannot stand there, then nothing.
    Bad(&'static str),
}

/// A response that begins well and is cut; gives the client that has read what was good.
async fn cut(head: &'static str, good: &'static str, how: Cut, version: &str) -> (Proxy, Client) {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream| {
        let given = Arc::clone(&given);
        async move {
            upstream.request().await;
            upstream.write(head).await;
            if head.contains("chunked") {
                upstream.chunk(good).await;
            } else {
                upstream.write(good).await;
            }
            soon("the client to have read what was good", given.notified()).await;
            match how {
                Cut::Reset => upstream.reset(),
                Cut::Close => {}
                Cut::Bad(bytes) => {
                    upstream.write(bytes).await;
                    upstream.closed().await;
                }
            }
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    if head.contains("chunked") {
        assert_eq!(client.text().await, good);
    } else {
        let mut read = Vec::new();
        while read.len() < good.len() {
            read.extend(client.read().await.unwrap());
        }
        assert_eq!(read, good.as_bytes());
    }
    word.notify_one();
    // The upstream's script must not be dropped before it has done its part.
    proxy.logged("end", 1).await;
    (proxy, client)
}

const SSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
const TEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";

#[tokio::test]
async fn a_chunked_body_that_breaks_off_has_no_last_chunk() {
    for (head, kind) in [(CHUNKED, "stream"), (SSE, "sse")] {
        for (how, reason) in [
            (Cut::Close, "truncated"),
            (Cut::Reset, "upstream_reset"),
            (Cut::Bad("nonsense\r\n"), "protocol_error"),
            (Cut::Bad("-1\r\n"), "protocol_error"),
        ] {
            let (mut proxy, mut client) = cut(head, "data: good\n\n", how, "1.1").await;
            if kind == "sse" {
                let event = client.text().await;
                assert!(event.starts_with("event: error\ndata: {\"error\":{"), "{event}");
                assert!(event.contains(&format!("\"type\":\"{reason}\"")), "{event}");
            }
            assert_eq!(client.chunk().await, None, "{kind} {reason}: it ends without a last chunk");
            assert_eq!(String::from_utf8_lossy(&client.inbox), "", "{kind} {reason}");
            ended(&mut proxy, 200, kind, reason).await;
        }
    }
}

#[tokio::test]
async fn good_data_before_a_bad_chunk_is_delivered_though_both_came_together() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write([CHUNKED, "4\r\ngood\r\n3\r\nabcd\r\n"].concat()).await;
        upstream.closed().await;
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert_eq!((response.text(), response.complete), ("goodabc", false));
    ended(&mut proxy, 200, "stream", "protocol_error").await;
}

#[tokio::test]
async fn good_data_before_a_bad_chunk_is_counted() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write([SSE, "9\r\ndata: a\n\n\r\nnonsense"].concat()).await;
        upstream.closed().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert!(response.text().starts_with("data: a\n\nevent: error\n"), "{response:?}");
    let end = &proxy.logged("end", 1).await[0];
    let counted = (&end["bytes_out"], &end["events"]);
    assert_eq!(counted, (&response.body.len().into(), &1.into()), "the client got them: {end}");
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_cut_short() {
    for (how, reason) in [(Cut::Close, "truncated"), (Cut::Reset, "upstream_reset")] {
        for version in ["1.1", "1.0"] {
            let (mut proxy, mut client) = cut(TEN, "12345", how, version).await;
            // By a FIN or a reset: five bytes of ten are broken either way.
            client.ends().await;
            ended(&mut proxy, 200, "http", reason).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_only_its_end_ends_is_reset_when_it_is_broken() {
    for (head, how, reason, kind) in [
        (SSE, Cut::Reset, "upstream_reset", "sse"),
        (SSE, Cut::Close, "truncated", "sse"),
        (SSE, Cut::Bad("x\r\n"), "protocol_error", "sse"),
        (CHUNKED, Cut::Close, "truncated", "stream"),
        (UNTIL_CLOSE, Cut::Reset, "upstream_reset", "stream"),
    ] {
        let (mut proxy, mut client) = cut(head, "data: good\n\n", how, "1.0").await;
        if kind == "sse" {
            let event = String::from_utf8(client.read().await.unwrap()).unwrap();
            assert!(event.starts_with("event: error\n") && event.ends_with("\n\n"), "{event}");
        }
        let reset = client.ends().await;
        assert!(reset, "{kind} {reason}: to HTTP/1.0, a FIN would be the body's proper end");
        ended(&mut proxy, 200, kind, reason).await;
    }
}

#[tokio::test]
async fn a_close_delimited_body_that_is_reset_has_no_last_chunk() {
    let (mut proxy, mut client) = cut(UNTIL_CLOSE, "good", Cut::Reset, "1.1").await;
    assert_eq!(client.chunk().await, None);
    ended(&mut proxy, 200, "stream", "upstream_reset").await;
}

#[tokio::test]
async fn a_close_delimited_body_that_is_closed_is_whole() {
    let (mut proxy, mut client) = cut(UNTIL_CLOSE, "good", Cut::Close, "1.1").await;
    assert_eq!(client.text().await, "", "the last chunk");
    ended(&mut proxy, 200, "stream", "upstream_closed").await;
    let (mut proxy, mut client) = cut(UNTIL_CLOSE, "good", Cut::Close, "1.0").await;
    assert!(!client.ends().await, "a clean end is a FIN");
    ended(&mut proxy, 200, "stream", "upstream_closed").await;
}

#[tokio::test]
async fn megabytes_on_their_way_arrive_before_the_reset_that_ends_them() {
    // A reset may overtake data; what the upstream had delivered to us must not be lost by it.
    const SIZE: usize = 1 << 20;
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write(CHUNKED).await;
        upstream.chunk(vec![b'x'; SIZE]).await;
        // No last chunk.
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let response = client.response().await;
    assert!(!response.complete, "it is broken");
    assert_eq!(response.body.len(), SIZE, "but everything that came is there");
    ended(&mut proxy, 200, "stream", "truncated").await;
}

#[tokio::test]
async fn a_connection_that_ends_in_trailers_is_not_a_whole_body() {
    for end in ["0\r\n", "0\r\nX: y\r\n", "0\r\n\r", "0"] {
        let upstream = Upstream::serve(move |mut upstream| async move {
            upstream.request().await;
            upstream.write(CHUNKED).await;
            upstream.chunk("good").await;
            upstream.write(end).await;
        })
        .await;
        let mut proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        client.get("/").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.complete), ("good", false), "{end:?}");
        ended(&mut proxy, 200, "stream", "truncated").await;
    }
}

#[tokio::test]
async fn failures_hurt_only_their_own_exchange() {
    // One process, every failure in turn, while one stream stays open and good requests go on.
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream: Conversation| {
        let given = Arc::clone(&given);
        async move {
            while let Some(request) = upstream.try_request().await {
                match request.split(' ').nth(1).unwrap() {
                    "/reset" => return upstream.reset(),
                    "/close" => return,
                    "/half" => return upstream.write("HTTP/1.1 2").await,
                    "/garbage" => return upstream.write("garbage\r\n\r\n").await,
                    "/truncated" => return upstream.write([TEN, "123"].concat()).await,
                    "/bad" => {
                        return upstream.write([CHUNKED, "1\r\na\r\nnonsense"].concat()).await;
                    }
                    "/stream" => {
                        upstream.write(SSE).await;
                        upstream.chunk("data: begun\n\n").await;
                        soon("the word", given.notified()).await;
                        upstream.chunk("data: done\n\n").await;
                        upstream.last_chunk().await;
                    }
                    _ => upstream.write(OK).await,
                }
            }
        }
    })
    .await;
    let mut proxy = Proxy::to(upstream.address).route("sse.heartbeat = \"off\"").start().await;
    let mut stream = proxy.client().await;
    stream.get("/stream").await;
    stream.head().await;
    assert_eq!(stream.text().await, "data: begun\n\n");
    let failures = ["/reset", "/close", "/half", "/garbage", "/truncated", "/bad"];
    let mut count = 0;
    for _ in 0..5 {
        for path in failures {
            let mut client = proxy.client().await;
            client.get(path).await;
            let response = client.response().await;
            assert!(response.status == 502 || !response.complete, "{path}: {response:?}");
            let mut client = proxy.client().await;
            client.get("/good").await;
            assert_eq!(client.response().await.text(), "ok", "after {path}");
            count += 2;
            proxy.logged("end", count).await;
        }
    }
    word.notify_one();
    assert_eq!(stream.text().await, "data: done\n\n", "the stream never noticed");
    assert_eq!(stream.text().await, "", "the last chunk");
    proxy.logged("end", count + 1).await;
    let (opened, closed) = (
        proxy.sum(&["longwire_streams_opened_total{"]).await,
        proxy.sum(&["longwire_streams_closed_total{"]).await,
    );
    assert_eq!((opened, closed), (61.0, 61.0));
    assert_eq!(proxy.sum(&["longwire_streams_active{"]).await, 0.0);
    assert_eq!(proxy.metric(&["longwire_upstream_connections{", "active"]).await, 0.0);
    until("the upstream agrees about the idle ones", || async {
        proxy.metric(&["longwire_upstream_connections{", "idle"]).await == upstream.open() as f64
    })
    .await;
    assert!(proxy.is_running());
}
