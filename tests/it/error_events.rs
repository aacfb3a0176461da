use super::harness::{Client, Conversation, Proxy, Upstream};

const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

/// What a plain stream is told when its upstream closes the connection too early.
const TRUNCATED: &str = "event: error\ndata: {\"error\":{\"code\":502,\
    \"message\":\"the upstream ended the response before its end\",\"type\":\"truncated\"}}\n\n";

/// What the client gets behind the head, until the connection ends, when the upstream writes
/// `fields` and `body` as they are and hangs up; and the reason that is logged.
async fn broken(fields: &str, body: &str) -> (String, String) {
    let answer = [SSE, fields, "\r\n", body].concat();
    let upstream = Upstream::serve(move |mut upstream: Conversation| {
        let answer = answer.clone();
        async move {
            upstream.request().await;
            upstream.write(answer).await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.head().await;
    (rest(&mut client).await, proxy.reason().await)
}

/// All bytes up to the end, whether that is a FIN or a reset.
async fn rest(client: &mut Client) -> String {
    let mut all = Vec::new();
    loop {
        match client.read().await {
            Ok(bytes) if !bytes.is_empty() => all.extend_from_slice(&bytes),
            _ => return String::from_utf8(all).unwrap(),
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[tokio::test]
async fn at_a_boundary_a_plain_stream_is_told_byte_for_byte() {
    for event in ["data: a\n\n", "data: a\r\n\r\n", "data: a\r\r", ": a comment\n"] {
        let (got, reason) = broken(CHUNKED, &chunk(event)).await;
        assert_eq!(got, [chunk(event), chunk(TRUNCATED)].concat(), "no last chunk either");
        assert_eq!(reason, "truncated", "{event:?}");
    }
}

#[tokio::test]
async fn an_unfinished_event_with_data_is_left_as_it_is() {
    for event in ["data: a\n", "data: a", "data\n", "event: x\ndata: a\n", "event: x"] {
        let body = chunk(&["data: whole\n\n", event].concat());
        let (got, reason) = broken(CHUNKED, &body).await;
        assert_eq!((got, reason.as_str()), (body, "truncated"), "{event:?}: only the cut tells");
    }
}

#[tokio::test]
async fn an_unfinished_event_without_data_is_taken_over() {
    let (got, reason) = broken(CHUNKED, &chunk("event: x\n")).await;
    assert_eq!(got, [chunk("event: x\n"), chunk(TRUNCATED)].concat());
    assert_eq!(reason, "truncated");
}

#[tokio::test]
async fn a_body_with_a_length_gets_no_event() {
    let (got, reason) = broken("Content-Length: 500\r\n", "data: a\n\n").await;
    assert_eq!((got.as_str(), reason.as_str()), ("data: a\n\n", "truncated"));
}

#[tokio::test]
async fn a_compressed_body_gets_no_event() {
    let fields = format!("Content-Encoding: gzip\r\n{CHUNKED}");
    let (got, reason) = broken(&fields, &chunk("data: a\n\n")).await;
    assert_eq!((got, reason.as_str()), (chunk("data: a\n\n"), "truncated"));
}
