use serde_json::Value;

use crate::harness::{Peer, Proxy, Response, Upstream, soon};
use crate::websocket::{AGREE, ASK};

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub const SPAN: &str = "00f067aa0ba902b7";
const OFF: &str = "[tracing]\npropagate = false";

/// The value of the only field of that name.
fn field(head: &str, name: &str) -> Option<String> {
    let mut found = head.lines().filter_map(|line| {
        let (field, value) = line.split_once(": ")?;
        field.eq_ignore_ascii_case(name).then(|| value.to_owned())
    });
    let first = found.next();
    assert_eq!(found.next(), None, "{name} is there twice:\n{head}");
    first
}

/// Trace, span and flags of the `traceparent` in a request.
pub fn parent(request: &str) -> [String; 3] {
    let value = field(request, "traceparent").unwrap_or_else(|| panic!("none in {request}"));
    let parts: Vec<_> = value.split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = parts.try_into().unwrap();
    let digits = [&trace, &span].map(|digits| {
        assert!(digits.bytes().all(|digit| b"0123456789abcdef".contains(&digit)), "{value}");
        digits.len()
    });
    assert_eq!((version.as_str(), digits, flags.len()), ("00", [32, 16], 2), "{value}");
    [trace, span, flags]
}

fn ids(line: &Value) -> [&str; 2] {
    ["trace_id", "span_id"].map(|name| line[name].as_str().unwrap_or_default())
}

async fn ask(proxy: &Proxy, fields: &str) -> Response {
    let mut client = proxy.client().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    client.response().await
}

#[tokio::test]
async fn a_trace_is_continued_with_a_span_of_its_own() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let fields = format!(
        "TraceParent: 00-{TRACE}-{SPAN}-01\r\nTraceState: congo=t61rcWkgMzE\r\ntracestate: rojo=1\r\n"
    );
    for _ in 0..2 {
        let response = ask(&proxy, &fields).await;
        assert!(!response.head.to_ascii_lowercase().contains("trace"), "{}", response.head);
    }
    let requests = upstream.requests();
    let [trace, span, flags] = parent(&requests[0]);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    assert_ne!(span, SPAN);
    assert_ne!(span, parent(&requests[1])[1], "each exchange is a span");
    for state in ["congo=t61rcWkgMzE", "rojo=1"] {
        assert!(requests[0].contains(state), "{}", requests[0]);
    }
    let ends = proxy.logged("end", 2).await;
    assert_eq!(ids(&ends[0]), [trace, span]);
}

#[tokio::test]
async fn a_trace_begins_where_there_is_none() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let twice = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n").repeat(2);
    let long = format!("traceparent: 00-{TRACE}-{SPAN}-01{}\r\n", "0".repeat(1000));
    let bad = format!("traceparent: 00-{TRACE}-{SPAN}-zz\r\n");
    let cases = [String::new(), twice, long, bad];
    for fields in &cases {
        let response = ask(&proxy, &format!("{fields}tracestate: foo=1\r\n")).await;
        assert_eq!(response.status, 200);
    }
    let mut traces: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| {
            let [trace, _, flags] = parent(request);
            assert_eq!(flags, "02", "random, and not sampled");
            assert_eq!(field(request, "tracestate"), None, "it belongs to another trace");
            trace
        })
        .collect();
    let ends = proxy.logged("end", cases.len()).await;
    assert!(ends.iter().zip(&traces).all(|(line, trace)| ids(line)[0] == trace));
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), cases.len());
    assert!(!traces.contains(&TRACE.to_owned()));
}

#[tokio::test]
async fn where_traces_are_not_propagated_the_fields_pass() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).tables(OFF).start().await;
    let value = "whatever, it is the upstream's";
    ask(&proxy, &format!("traceparent: {value}\r\ntracestate: FOO\r\n")).await;
    ask(&proxy, "").await;
    let requests = upstream.requests();
    assert_eq!(field(&requests[0], "traceparent").as_deref(), Some(value));
    assert_eq!(field(&requests[0], "tracestate").as_deref(), Some("FOO"));
    assert_eq!(field(&requests[1], "traceparent"), None);
    let ends = proxy.logged("end", 2).await;
    assert!(
        ends.iter().all(|line| line.get("trace_id").is_none() && line.get("span_id").is_none())
    );
}

#[tokio::test]
async fn websockets_and_both_their_lines_belong_to_the_trace() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write(AGREE).await;
        upstream.closed().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    let traced = format!("Host: test\r\ntraceparent: 00-{TRACE}-{SPAN}-00\r\n");
    client.send(ASK.replace("Host: test\r\n", &traced)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("trace"), "{head}");
    drop(client);
    let [trace, span, flags] = parent(&upstream.requests()[0]);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    let (opens, ends) = (proxy.logged("open", 1).await, proxy.logged("end", 1).await);
    assert_eq!(ids(&opens[0]), [&trace, &span]);
    assert_eq!(ids(&ends[0]), [&trace, &span]);
}

#[tokio::test]
async fn http2_clients_are_traced() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let field = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    let curl = ["curl", "-sS", "--http2-prior-knowledge", "-H", &field, &proxy.url()];
    let output = soon("curl's end", Peer::program(&curl).output()).await.unwrap();
    assert_eq!(output.stdout, b"ok");
    let [trace, span, _] = parent(&upstream.requests()[0]);
    let ends = proxy.logged("end", 1).await;
    assert_eq!((ends[0]["version"].as_str(), trace.as_str()), (Some("2.0"), TRACE));
    assert_eq!(ids(&ends[0]), [trace, span]);
}

#[tokio::test]
async fn every_try_of_an_exchange_is_the_same_span() {
    let bad = Upstream::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let good = Upstream::answering(OK).await;
    let endpoints = [bad.address, good.address];
    let proxy = Proxy::to_all(&endpoints).upstream("balance = \"round_robin\"").start().await;
    for _ in 0..2 {
        assert_eq!(ask(&proxy, "").await.status, 200);
    }
    let (bad, good) = (bad.requests(), good.requests());
    assert_eq!((bad.len(), good.len()), (1, 2));
    assert!(good.iter().any(|request| parent(request) == parent(&bad[0])));
}

#[tokio::test]
async fn answers_of_our_own_say_nothing_of_traces() {
    let upstream = Upstream::answering("no HTTP\r\n\r\n").await;
    let proxy = Proxy::to(upstream.address).start().await;
    let fields = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let response = ask(&proxy, &fields).await;
    assert_eq!(response.status, 502);
    assert!(!response.head.to_ascii_lowercase().contains("trace"), "{}", response.head);
    assert!(!response.text().contains(TRACE));
    assert_eq!(ids(&proxy.logged("end", 1).await[0])[0], TRACE, "but the log does");
}
