use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::harness::{Client, Conversation, Proxy, Response, Upstream, soon, taken};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Bytes in which nothing repeats for long, so that a piece that is lost, doubled or moved shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Cheaper to read than a dump of megabytes.
#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "length of {what}");
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "first difference in {what}");
}

/// Two requests on one connection: the answer to the second one shows where the first ended.
async fn head_then_get(response: &'static str) -> (Response, Response, Upstream) {
    let upstream = Upstream::serve(move |mut upstream| async move {
        assert!(upstream.request().await.starts_with("HEAD / HTTP/1.1\r\n"));
        upstream.write(response).await;
        assert!(upstream.request().await.starts_with("GET / HTTP/1.1\r\n"));
        upstream.write(OK).await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let to_head = client.response_to_head().await;
    client.get("/").await;
    let to_get = client.response().await;
    (to_head, to_get, upstream)
}

#[tokio::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    let (to_head, to_get, upstream) = head_then_get(response).await;
    assert_eq!(to_head.field("content-length"), Some("1234"));
    assert_eq!((to_get.status, to_get.text()), (200, "ok"), "the next response follows at once");
    assert_eq!(upstream.connections(), 1, "a response to HEAD leaves the connection usable");
}

#[tokio::test]
async fn a_head_request_to_a_chunked_resource_gets_no_chunk() {
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (to_head, to_get, upstream) = head_then_get(response).await;
    assert_eq!(to_head.status, 200);
    assert_eq!(to_get.text(), "ok", "no last chunk stands between the two responses");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn no_content_and_not_modified_have_no_body_whatever_their_fields_say() {
    for (response, status, length) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"a\"\r\n\r\n", 304, Some("99")),
    ] {
        let upstream = Upstream::answering(response).await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        for round in 0..2 {
            client.get("/").await;
            let found = client.response().await;
            assert_eq!(found.status, status, "{response:?}, round {round}");
            assert_eq!(found.field("content-length"), length, "{response:?}");
            assert_eq!(found.field("transfer-encoding"), None, "{response:?}");
            proxy.logged("end", round + 1).await;
        }
        assert_eq!(upstream.connections(), 1, "{response:?} leaves the connection usable");
    }
}

#[tokio::test]
async fn every_framing_of_a_response_suits_every_client() {
    let body = "0123456789";
    for (upstream_says, has_length) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789", false),
        ("HTTP/1.0 200 OK\r\n\r\n0123456789", false),
        // RFC 9112 §6.3: the encoding overrides the length, and the length must not go on.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
             a\r\n0123456789\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let upstream = Upstream::serve(move |mut upstream| async move {
            let closes = upstream_says.contains("close") || upstream_says.contains("HTTP/1.0");
            while upstream.try_request().await.is_some() {
                upstream.write(upstream_says).await;
                if closes {
                    break;
                }
            }
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;

        let mut new = proxy.client().await;
        new.get("/").await;
        let found = new.response().await;
        assert!(found.complete && found.text() == body, "HTTP/1.1 got {found:?}");
        assert_eq!(found.field("content-length"), has_length.then_some("10"), "{found:?}");
        let encoding = (!has_length).then_some("chunked");
        assert_eq!(found.field("transfer-encoding"), encoding, "{found:?}");
        assert_eq!(found.field("connection"), None, "its connection stays: {found:?}");

        let mut old = proxy.client().await;
        old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
        let found = old.response().await;
        assert_eq!(found.text(), body, "HTTP/1.0 gets the body without chunks");
        assert!(found.complete, "the end of the connection is a FIN: {found:?}");
        assert_eq!(found.field("transfer-encoding"), None, "{found:?}");
        assert_eq!(found.field("content-length"), has_length.then_some("10"), "{found:?}");
        assert!(!old.ends().await, "its connection is closed, and not by a reset");
        for end in proxy.logged("end", 2).await {
            let clean = ["completed", "upstream_closed"].contains(&end["reason"].as_str().unwrap());
            assert!(clean, "{end}");
        }
    }
}

#[tokio::test]
async fn an_http_1_0_client_that_keeps_alive_can_ask_again_after_a_length() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!(response.text(), "ok");
        assert_eq!(response.field("connection"), Some("keep-alive"), "it has to be told");
    }
}

#[tokio::test]
async fn a_chunked_response_arrives_whole_however_it_is_cut() {
    const WIRE: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                        5;ext=\"x\"\r\nhello\r\n1\r\n \r\nA \r\n0123456789\r\n\
                        0\r\nX-Sum: 1\r\n\r\n";
    let upstream = Upstream::serve(|mut upstream| async move {
        for cut in 1..WIRE.len() {
            upstream.request().await;
            upstream.write(&WIRE[..cut]).await;
            taken(&upstream.stream).await;
            upstream.write(&WIRE[cut..]).await;
        }
        upstream.request().await;
        for byte in WIRE.as_bytes() {
            upstream.write([*byte]).await;
            taken(&upstream.stream).await;
        }
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    for cut in 1..=WIRE.len() {
        client.get("/").await;
        let response = client.response().await;
        assert!(response.complete, "cut at {cut}");
        assert_eq!(response.text(), "hello 0123456789", "cut at {cut}");
        assert_eq!(response.field("trailer"), None, "trailers are dropped, and not announced");
        proxy.logged("end", cut).await;
    }
    assert_eq!(upstream.connections(), 1, "every one of them was read to its very end");
}

/// Reads a request and answers with the body that it had, behind its framing.
async fn echo(upstream: &mut Conversation) -> Option<()> {
    let head = upstream.try_head().await?;
    let lower = head.to_ascii_lowercase();
    let (framing, body) = match lower.split_once("content-length: ") {
        Some((_, rest)) => {
            let length = rest.lines().next().unwrap().parse().unwrap();
            ("length", upstream.bytes(length).await)
        }
        None => {
            assert!(lower.contains("transfer-encoding: chunked\r\n"), "{head}");
            let mut body = Vec::new();
            loop {
                let chunk = upstream.data().await.expect("a chunk, not the end");
                if chunk.is_empty() {
                    break ("chunked", body);
                }
                body.extend_from_slice(&chunk);
            }
        }
    };
    let length = framing.len() + 1 + body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{framing} ");
    upstream.write([head.as_bytes(), &body].concat()).await;
    Some(())
}

async fn echoing() -> Upstream {
    Upstream::serve(|mut upstream| async move { while echo(&mut upstream).await.is_some() {} })
        .await
}

#[tokio::test]
async fn a_request_body_arrives_whole_however_it_is_cut() {
    const WITH_LENGTH: &str =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\nhello 0123456789";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                           5;ext=\"x\"\r\nhello\r\n1\r\n \r\nA \r\n0123456789\r\n\
                           0\r\nHost: evil\r\nContent-Length: 9\r\n\r\n";
    let upstream = echoing().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    let mut asked = 0;
    for (wire, expected) in
        [(WITH_LENGTH, "length hello 0123456789"), (CHUNKED, "chunked hello 0123456789")]
    {
        for cut in 1..wire.len() {
            client.send(&wire[..cut]).await;
            taken(&client.stream).await;
            client.send(&wire[cut..]).await;
            assert_eq!(client.response().await.text(), expected, "cut at {cut}");
            asked += 1;
            proxy.logged("end", asked).await;
        }
        for byte in wire.as_bytes() {
            client.send([*byte]).await;
            taken(&client.stream).await;
        }
        assert_eq!(client.response().await.text(), expected, "byte by byte");
        asked += 1;
        proxy.logged("end", asked).await;
    }
    assert_eq!(upstream.connections(), 1, "nothing was left over between the requests");
}

#[tokio::test]
async fn a_large_chunked_upload_arrives_byte_for_byte() {
    let upstream = echoing().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    let body = pattern(1_000_000);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // Sizes around every border there is: one digit, two, a TCP segment, our read buffer.
    let mut rest = &body[..];
    for size in [1, 15, 16, 255, 256, 1460, 65_535, 65_536, 65_537, 200_000].into_iter().cycle() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        client.send([format!("{size:x}\r\n", size = chunk.len()).as_bytes(), chunk].concat()).await;
        client.send("\r\n").await;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    client.send("0\r\n\r\n").await;
    let response = client.response().await;
    assert_same(&response.body, &[b"chunked ", &body[..]].concat(), "the echo");
    assert_eq!(proxy.logged("end", 1).await[0]["bytes_in"], body.len());
}

#[tokio::test]
async fn an_expectation_passes_and_the_body_waits_for_the_upstreams_word() {
    let upstream = Upstream::serve(|mut upstream| async move {
        let head = upstream.head().await;
        assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
        assert!(upstream.inbox.is_empty(), "the client has not begun to send");
        upstream.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(upstream.bytes(5).await, b"hello");
        upstream.write(OK).await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    may_continue(&mut client).await;
    client.send("hello").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "ok"));
    assert_eq!(proxy.reason().await, "completed");
}

/// Announces a body of five bytes, and is told to send it.
async fn may_continue(client: &mut Client) {
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let interim = client.head().await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
}

#[tokio::test]
async fn a_client_that_stops_after_100_continue_is_a_slow_one() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        upstream.hold().await;
    })
    .await;
    // The upstream has much more time for its answer than the client has for the rest.
    let rules = "stream.slow_client_timeout = \"500ms\"\ntimeouts.first_byte = \"60s\"";
    let proxy = Proxy::to(upstream.address).route(rules).start().await;
    let mut client = proxy.client().await;
    may_continue(&mut client).await;
    client.send("h").await;
    assert_eq!(proxy.reason().await, "slow_client");
}

#[tokio::test]
async fn an_expectation_of_an_http_1_0_client_is_not_sent_on() {
    let upstream = Upstream::serve(|mut upstream| async move {
        let head = upstream.head().await;
        assert!(!head.to_ascii_lowercase().contains("expect"), "{head}");
        assert_eq!(upstream.bytes(5).await, b"hello");
        // A server may send it unasked; RFC 9110 §15.2 forbids to pass it on to HTTP/1.0.
        upstream.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        upstream.write(OK).await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        )
        .await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "ok"), "the first head is the final one");
}

#[tokio::test]
async fn early_hints_pass_to_http_1_1_and_not_to_http_1_0() {
    let upstream = Upstream::serve(|mut upstream| async move {
        while upstream.try_request().await.is_some() {
            for style in ["a", "b"] {
                let link = format!("Link: </{style}.css>; rel=preload\r\nConnection: close");
                upstream.write(format!("HTTP/1.1 103 Early Hints\r\n{link}\r\n\r\n")).await;
            }
            upstream.write(OK).await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut new = proxy.client().await;
    new.get("/").await;
    for style in ["a", "b"] {
        let hints = new.head().await;
        assert!(hints.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{hints}");
        assert!(hints.contains(&format!("Link: </{style}.css>; rel=preload\r\n")), "{hints}");
        assert!(!hints.contains("Connection"), "hop-by-hop fields stay behind: {hints}");
    }
    assert_eq!(new.response().await.text(), "ok");

    let mut old = proxy.client().await;
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let response = old.response().await;
    assert_eq!((response.status, response.text()), (200, "ok"));
}

#[tokio::test]
async fn a_hint_is_not_held_back_until_the_response() {
    let seen = Arc::new(Notify::new());
    let go = Arc::clone(&seen);
    let upstream = Upstream::serve(move |mut upstream| {
        let go = Arc::clone(&go);
        async move {
            upstream.request().await;
            upstream.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
            soon("the client to have seen the hint", go.notified()).await;
            upstream.write(OK).await;
            upstream.hold().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert!(client.head().await.starts_with("HTTP/1.1 103 "));
    seen.notify_one();
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn the_response_streams_down_while_the_request_streams_up() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream
            .write("HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        loop {
            let chunk = upstream.data().await.expect("a chunk, not the end");
            if chunk.is_empty() {
                break;
            }
            upstream.chunk(chunk).await;
        }
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "), "before any byte of the body");
    for word in ["one", "two", "three", "four"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len())).await;
        assert_eq!(client.text().await, word, "each word comes back before the next is sent");
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.text().await, "", "the last chunk");
    assert_eq!(proxy.reason().await, "completed");
    proxy.metric_becomes(&["longwire_upstream_connections{", "state=\"idle\""], 1.0).await;
}

#[tokio::test]
async fn eight_megabytes_each_way_pass_a_client_that_writes_all_before_it_reads() {
    const SIZE: usize = 8 << 20;
    let up = Arc::new(pattern(SIZE));
    let down: Arc<Vec<u8>> = Arc::new(up.iter().rev().copied().collect());
    let (sent, answer) = (Arc::clone(&up), Arc::clone(&down));
    let upstream = Upstream::serve(move |mut upstream| {
        let (sent, answer) = (Arc::clone(&sent), Arc::clone(&answer));
        let down_end = [answer[SIZE - 1]];
        async move {
            upstream.head().await;
            let (mut read, mut write) = upstream.stream.into_split();
            let writing = tokio::spawn(async move {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
                write.write_all(head.as_bytes()).await.unwrap();
                write.write_all(&answer[..SIZE - 1]).await.unwrap();
                write
            });
            let mut body = upstream.inbox;
            body.reserve(SIZE);
            while body.len() < SIZE && read.read_buf(&mut body).await.unwrap() > 0 {}
            assert!(body == *sent, "the request body has arrived as it was sent");
            // A response that ends before its request would end the exchange.
            let mut write = writing.await.unwrap();
            write.write_all(&down_end).await.unwrap();
            while read.read_buf(&mut body).await.unwrap_or(0) > 0 {}
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.post("/", &up).await;
    let response = client.response().await;
    assert!(response.complete && response.body == *down, "the response body is as it was sent");
    let ends = proxy.logged("end", 1).await;
    assert_eq!((&ends[0]["bytes_in"], &ends[0]["bytes_out"]), (&SIZE.into(), &SIZE.into()));
    assert_eq!(proxy.reason().await, "completed");
}

#[tokio::test]
async fn pipelined_requests_get_their_responses_in_order() {
    let upstream = Upstream::serve(|mut upstream| async move {
        while let Some(request) = upstream.try_request().await {
            let path = request.split(' ').nth(1).unwrap();
            // Every second one without a length, so that framings alternate on the way down.
            if path.ends_with(['0', '2', '4', '6', '8']) {
                upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                upstream.chunk(path).await;
                upstream.last_chunk().await;
            } else {
                let length = path.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
                upstream.write(head).await;
            }
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    // More than is read ahead, so that some of it has to wait in the kernel.
    let padding = "x".repeat(1000);
    let mut wire = String::new();
    for number in 0..100 {
        let body = match number % 3 {
            0 => "\r\n".to_owned(),
            1 => "Content-Length: 9\r\n\r\nGET /evil".to_owned(),
            _ => "Transfer-Encoding: chunked\r\n\r\n9\r\nGET /evil\r\n0\r\n\r\n".to_owned(),
        };
        wire.push_str(&format!("POST /{number} HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n{body}"));
    }
    client.send(&wire).await;
    for number in 0..100 {
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, &*format!("/{number}")));
    }
    assert_eq!(upstream.requests().len(), 100, "a body is never taken for a request");
}

#[tokio::test]
async fn requests_pipelined_behind_a_stream_wait_for_its_end() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for word in ["one", "two"] {
            upstream.chunk(word).await;
        }
        upstream.last_chunk().await;
        upstream.request().await;
        upstream.write(OK).await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/stream").await;
    client.get("/next").await;
    assert_eq!(client.response().await.text(), "onetwo");
    assert_eq!(client.response().await.text(), "ok");
}

const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large";

#[tokio::test]
async fn a_response_before_the_end_of_the_request_arrives_and_ends_the_connection() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream.write(TOO_LARGE).await;
        upstream.closed().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (413, "too large"));
    assert_eq!(
        response.field("connection"),
        Some("close"),
        "the rest cannot be told from a request"
    );
    assert!(!client.ends().await, "the end is a FIN, so that the response is not lost");
    assert_eq!(proxy.reason().await, "completed");
    let unclean = ["longwire_upstream_pool_closed_total", "reason=\"unclean\""];
    proxy.metric_becomes(&unclean, 1.0).await;
}

#[tokio::test]
async fn a_client_that_writes_all_first_still_gets_the_early_response() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.head().await;
        upstream.write(TOO_LARGE).await;
        // Closing with unread input is a reset, as a server in a hurry does it.
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let body = pattern(4 << 20);
    for round in 0..5 {
        let mut client = proxy.client().await;
        client.post("/", &body).await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (413, "too large"), "round {round}");
        assert!(!client.ends().await, "the end is a FIN");
    }
}

#[tokio::test]
async fn lines_of_json_without_a_length_pass_as_they_are_written() {
    for framing in ["Transfer-Encoding: chunked", "Connection: close"] {
        let read = Arc::new(Notify::new());
        let go = Arc::clone(&read);
        let upstream = Upstream::serve(move |mut upstream| {
            let go = Arc::clone(&go);
            async move {
                upstream.request().await;
                let kind = "Content-Type: application/x-ndjson";
                upstream.write(format!("HTTP/1.1 200 OK\r\n{kind}\r\n{framing}\r\n\r\n")).await;
                for number in 0..10 {
                    let line = format!("{{\"line\":{number}}}\n");
                    if framing.starts_with("Transfer") {
                        upstream.chunk(line).await;
                    } else {
                        upstream.write(line).await;
                    }
                    soon("the client to have read the line", go.notified()).await;
                }
                if framing.starts_with("Transfer") {
                    upstream.last_chunk().await;
                    upstream.hold().await;
                }
            }
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        client.get("/").await;
        let head = client.head().await;
        assert!(head.contains("Content-Type: application/x-ndjson\r\n"), "{head}");
        assert!(!head.contains("X-Accel-Buffering"), "only event streams get it: {head}");
        for number in 0..10 {
            assert_eq!(client.text().await, format!("{{\"line\":{number}}}\n"), "{framing}");
            assert_eq!(proxy.log("end").len(), 0);
            read.notify_one();
        }
        assert_eq!(client.text().await, "", "the last chunk, {framing}");
        let (open, end) = (proxy.logged("open", 1).await, proxy.logged("end", 1).await);
        assert_eq!((&open[0]["kind"], &end[0]["kind"]), (&"stream".into(), &"stream".into()));
        assert_eq!(open[0]["id"], end[0]["id"]);
        assert_eq!((&end[0]["events"], &end[0]["heartbeats"]), (&0.into(), &0.into()));
    }
}
