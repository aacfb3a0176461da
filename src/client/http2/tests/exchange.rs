//! One request and its response.

use h2::client::Builder;
use http::{Request, Response};
use tokio::io::AsyncReadExt as _;

use super::peer::*;
use crate::client::http2::SessionLimits;
use crate::client::http2::limits::SEND_BUFFER_BYTES;

fn limits() -> SessionLimits {
    SessionLimits::default()
}

fn post(fields: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method("POST").uri("http://a/x");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

/// The response's whole body.
async fn body(response: Response<h2::RecvStream>) -> Result<Vec<u8>, h2::Error> {
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(data) = soon("data", stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

#[tokio::test]
async fn bodies_pass_both_ways() {
    let (mut served, mut client) = meet(limits(), &Builder::new()).await;
    for (fields, framed, answer) in [
        (
            &[][..],
            "5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n3\r\nbye\r\n0\r\n\r\n",
        ),
        (
            &[("content-length", "5")][..],
            "hello",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nbye",
        ),
    ] {
        let (response, mut stream) = client.send_request(post(fields), false).unwrap();
        stream.send_data("hello".into(), true).unwrap();
        let (head, mut exchange) = served.request().await;
        assert_eq!(head.target, "/x");
        assert_eq!(read(&mut exchange, framed.len()).await, framed);
        assert!(is_silent(&mut exchange).await, "no end behind the body");
        write(&mut exchange, answer.as_bytes()).await;
        drop(exchange);
        let response = soon("a response", response).await.unwrap();
        assert_eq!(response.headers()["x-a"], "1");
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(body(response).await.unwrap(), b"bye");
    }
}

#[tokio::test]
async fn any_cut_gives_the_same_response() {
    let text = b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
                 Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut stream = 1;
    for cut in 1..text.len() {
        peer.headers(stream, END_STREAM, GET).await;
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, &text[..cut]).await;
        write(&mut exchange, &text[cut..]).await;
        drop(exchange);
        let frames = peer.until_pong().await;
        let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds[..2], [HEADERS, HEADERS], "cut at {cut}: interim and final");
        let data: Vec<_> = frames[2..].iter().flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(data, b"hello", "cut at {cut}");
        let ends: Vec<_> = frames.iter().map(|frame| frame.flags & END_STREAM).collect();
        assert_eq!(ends.iter().position(|end| *end != 0), Some(ends.len() - 1), "cut at {cut}");
        stream += 2;
    }
}

#[tokio::test]
async fn what_has_no_body_ends_with_its_head() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let head = &[(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let mut stream = 1;
    for (request, answer) in [
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
        (head, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
        (head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        peer.headers(stream, END_STREAM, request).await;
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, answer.as_bytes()).await;
        drop(exchange);
        let frames = peer.until_pong().await;
        assert_eq!(frames.len(), 1, "{answer}: {frames:?}");
        assert_eq!(frames[0].flags & END_STREAM, END_STREAM, "{answer}");
        stream += 2;
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_ends_with_a_shutdown() {
    let (mut served, mut client) = meet(limits(), &Builder::new()).await;
    for is_shut in [true, false] {
        let (response, _) = client.send_request(post(&[]), true).unwrap();
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, b"HTTP/1.1 200 OK\r\n\r\nhello").await;
        if is_shut {
            tokio::io::AsyncWriteExt::shutdown(&mut exchange).await.unwrap();
        }
        drop(exchange);
        let response = soon("a response", response).await.unwrap();
        assert_eq!(body(response).await.is_ok(), is_shut, "else nobody can know that it is whole");
    }
}

#[tokio::test]
async fn a_broken_response_never_looks_complete_and_comes_as_far_as_it_was_written() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut stream = 1;
    for (answer, data) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\n", ""),
        ("", ""),
    ] {
        peer.headers(stream, END_STREAM, GET).await;
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, answer.as_bytes()).await;
        drop(exchange);
        let frames = peer.until_pong().await;
        let found: Vec<_> = frames
            .iter()
            .filter(|frame| frame.kind == DATA)
            .flat_map(|frame| frame.payload.clone())
            .collect();
        assert_eq!(found, data.as_bytes(), "{answer:?}: {frames:?}");
        let last = frames.last().unwrap();
        assert_eq!(last.kind, RST_STREAM, "{answer:?}: {frames:?}");
        assert_eq!(last.payload, INTERNAL_ERROR.to_be_bytes());
        assert!(
            frames.iter().all(|frame| frame.flags & END_STREAM == 0 || frame.kind == RST_STREAM)
        );
        stream += 2;
    }
}

#[tokio::test]
async fn rfc9113_8_1_an_early_response_asks_for_no_more_of_the_request() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.headers(1, 0, POST).await;
    let (_, mut exchange) = served.request().await;
    write(&mut exchange, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
    drop(exchange);
    let frames = peer.until_pong().await;
    assert_eq!((frames[0].kind, frames[0].flags & END_STREAM), (HEADERS, END_STREAM));
    assert_eq!((frames[1].kind, &frames[1].payload[..]), (RST_STREAM, &NO_ERROR.to_be_bytes()[..]));
}

#[tokio::test]
async fn a_reset_wakes_the_reader_wherever_it_is() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut stream = 1;
    for (flags, answer) in [
        (0, ""),
        (END_STREAM, ""),
        (END_STREAM, "HTTP/1.1 100 Continue\r\n\r\n"),
        (END_STREAM, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        peer.headers(stream, flags, POST).await;
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, answer.as_bytes()).await;
        assert!(is_silent(&mut exchange).await);
        assert!(!exchange.has_left());
        let reader = tokio::spawn(async move {
            let read = exchange.read(&mut [0; 64]).await;
            (read, exchange)
        });
        tokio::task::yield_now().await;
        peer.reset(stream, CANCEL).await;
        let (read, mut exchange) = soon("a wake-up", reader).await.unwrap();
        assert!(read.is_err(), "flags {flags}, {answer:?}");
        assert!(exchange.has_left());
        stream += 2;
    }
}

#[tokio::test]
async fn a_client_that_left_is_seen_without_a_read() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.headers(1, 0, POST).await;
    let (_, mut exchange) = served.request().await;
    assert!(!exchange.has_left());
    peer.reset(1, CANCEL).await;
    peer.until_pong().await;
    assert!(exchange.has_left());

    peer.headers(3, 0, POST).await;
    let (_, mut exchange) = served.request().await;
    drop(peer);
    assert!(soon("the end", exchange.read(&mut [0; 64])).await.is_err(), "a lost connection");
    assert!(exchange.has_left());
}

#[tokio::test]
async fn looking_whether_the_client_left_does_not_lose_the_wake_up() {
    let (mut served, mut peer) = Peer::meet(limits(), &[(INITIAL_WINDOW_SIZE, 5)]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    write(&mut exchange, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
    let writer = tokio::spawn(async move {
        let mut looked = false;
        std::future::poll_fn(|cx| {
            let polled =
                tokio::io::AsyncWrite::poll_write(std::pin::Pin::new(&mut exchange), cx, b"5");
            if !looked {
                assert!(polled.is_pending() && !exchange.has_left());
                looked = true;
            }
            polled
        })
        .await
    });
    peer.until_pong().await;
    peer.send(WINDOW_UPDATE, 0, 1, &5_u32.to_be_bytes()).await;
    assert_eq!(soon("a wake-up", writer).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_makes_the_writer_wait() {
    // Windows are wide open; nothing is read from the connection.
    let wide = (1 << 31) - 1;
    let (mut served, mut peer) = Peer::meet(limits(), &[(INITIAL_WINDOW_SIZE, wide)]).await;
    peer.send(WINDOW_UPDATE, 0, 0, &(wide - 65_535).to_be_bytes()).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    write(&mut exchange, b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
    let mut taken = 0;
    loop {
        // The session may move, but only as far as the pipe of 4 MiB.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        match try_write(&mut exchange, &[0; 100_000]).await {
            Some(count) => taken += count,
            None => break,
        }
    }
    let pipe = 4 << 20;
    assert!(taken > pipe - 100_000, "{taken}");
    assert!(taken < pipe + SEND_BUFFER_BYTES + 64 * 1024, "{taken}");
}

#[tokio::test]
async fn a_full_window_makes_the_writer_wait_and_no_other() {
    let (mut served, mut peer) = Peer::meet(limits(), &[(INITIAL_WINDOW_SIZE, 5)]).await;
    for stream in [1, 3] {
        peer.headers(stream, END_STREAM, GET).await;
        let (_, mut exchange) = served.request().await;
        write(&mut exchange, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
        assert_eq!(try_write(&mut exchange, b"0123456789").await, Some(5));
        assert_eq!(try_write(&mut exchange, b"56789").await, None);
        peer.until_pong().await;
        peer.send(WINDOW_UPDATE, 0, stream, &5_u32.to_be_bytes()).await;
        write(&mut exchange, b"56789").await;
        let frames = peer.until_pong().await;
        assert_eq!(frames[0].payload, b"56789");
        assert_eq!(frames[0].flags, END_STREAM);
    }
}

#[tokio::test]
async fn each_event_is_one_frame() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.headers(1, END_STREAM, GET).await;
    let (_, mut exchange) = served.request().await;
    write(&mut exchange, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    peer.until_pong().await;
    for length in [200, 7, 3000] {
        let chunk = format!("{length:x}\r\n{}\r\n", "x".repeat(length));
        write(&mut exchange, chunk.as_bytes()).await;
        let frames = peer.until_pong().await;
        let lengths: Vec<_> =
            frames.iter().filter(|f| f.kind == DATA).map(|f| f.payload.len()).collect();
        assert_eq!(lengths, [length]);
    }
}

#[tokio::test]
async fn a_slow_reader_holds_no_more_than_the_window() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    peer.headers(1, 0, POST).await;
    let (_, mut exchange) = served.request().await;
    for _ in 0..4 {
        peer.send(DATA, 0, 1, &[b'x'; 16_000]).await;
    }
    let updates = |frames: Vec<Frame>| frames.iter().filter(|f| f.kind == WINDOW_UPDATE).count();
    assert_eq!(updates(peer.until_pong().await), 0, "nothing is released that was not read");
    read(&mut exchange, 50_000).await;
    assert!(updates(peer.until_pong().await) > 0);
}

#[tokio::test]
async fn malformed_answers_are_errors() {
    let (mut served, mut peer) = Peer::meet(limits(), &[]).await;
    let mut stream = 1;
    for answer in ["SSH-2.0-x\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"] {
        peer.headers(stream, END_STREAM, GET).await;
        let (_, mut exchange) = served.request().await;
        let written = tokio::io::AsyncWriteExt::write_all(&mut exchange, answer.as_bytes()).await;
        assert!(written.is_err(), "{answer}");
        drop(exchange);
        let frames = peer.until_pong().await;
        assert_eq!(frames[0].payload, INTERNAL_ERROR.to_be_bytes());
        stream += 2;
    }
}

#[tokio::test]
async fn tiny_chunks_that_wait_are_few() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let mut served = serve_on(ours, limits());
    let bytes = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, b""),
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(GET)),
    ]
    .concat();
    tokio::io::AsyncWriteExt::write_all(&mut theirs, &bytes).await.unwrap();
    let (_, mut exchange) = served.request().await;
    write(&mut exchange, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = b"1\r\nx\r\n";
    let mut taken = 0;
    while let Some(count) = try_write(&mut exchange, &chunk[taken % chunk.len()..]).await {
        taken += count;
        // 10 bytes each in the 16 KiB that are being written; h2's buffer would hold 32 Ki of them.
        assert!(taken < 2000 * chunk.len(), "{taken}");
        tokio::task::yield_now().await;
    }
    // Taken again as soon as the client reads.
    let reads =
        tokio::spawn(async move { while theirs.read(&mut [0; 4096]).await.unwrap() > 0 {} });
    write(&mut exchange, &chunk[taken % chunk.len()..]).await;
    reads.abort();
}

/// More requests than any limit counts, on one connection, a hundred at a time.
#[tokio::test]
async fn an_honest_load_is_not_a_flood() {
    const REQUESTS: usize = 3000;
    let (mut served, client) = meet(limits(), &Builder::new()).await;
    tokio::spawn(async move {
        loop {
            let (_, mut exchange) = served.request().await;
            tokio::spawn(async move {
                write(&mut exchange, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            });
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = client.clone();
        clients.spawn(async move {
            for _ in 0..REQUESTS / 100 {
                let request = Request::builder().uri("http://a/").body(()).unwrap();
                let (response, _) = client.send_request(request, true).unwrap();
                let response = soon("a response", response).await.unwrap();
                assert_eq!(body(response).await.unwrap(), b"ok");
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}
