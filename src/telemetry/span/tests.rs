use super::*;
use crate::clock;
use crate::live::kind::Kind;
use crate::live::reason::CloseReason;
use crate::live::stream::Stream;

fn record(method: &'static str) -> Record<'static> {
    Record {
        id: "id-1",
        trace: Some(Trace::of(&Default::default(), || 7, |_| true)),
        is_sampled: false,
        route: "chat",
        client: Some("192.0.2.7:52520".parse().unwrap()),
        principal: None,
        version: "2.0",
        method,
        path: "/v1/chat/completions",
        status: 200,
        kind: Kind::Sse,
        upstream: "models",
        endpoint: "gpu-a",
        connection: "reused",
        tries: 2,
        close_code: None,
        closed_by: None,
    }
}

fn details() -> Details {
    Details {
        scheme: "https",
        server: Some(("chat.example.com".to_owned(), Some(8443))),
        user_agent: Some("curl/8".to_owned()),
        client: Some("203.0.113.9".parse().unwrap()),
        pattern: Some("/v1/*".to_owned()),
    }
}

/// What is known of an exchange that ended so.
fn ended(reason: CloseReason, status: u16) -> (Look, End) {
    let began = clock::now();
    let after = |millis| began + Duration::from_millis(millis);
    let stream = Stream::new(began);
    stream.reached("gpu-a".into(), true, after(3));
    stream.sent(after(4));
    stream.answered(after(20));
    stream.came_down(100, 2, after(30));
    stream.first_byte(after(31));
    stream.went_up(7);
    let end = End { reason, status, duration: Duration::from_millis(50) };
    (stream.look(began), end)
}

/// Its span.
fn span(method: &'static str, reason: CloseReason, status: u16, attempts: &[Attempt]) -> Span {
    let (record, ended) = (record(method), ended(reason, status));
    Span::of(&record, &details(), SystemTime::UNIX_EPOCH, ended, attempts).unwrap()
}

fn value<'s>(span: &'s Span, name: &str) -> Option<&'s Value> {
    let mut found = span.attributes.iter().filter(|(found, _)| *found == name);
    let first = found.next();
    assert!(found.next().is_none(), "{name} is there twice");
    first.map(|(_, value)| value)
}

fn text(span: &Span, name: &str) -> String {
    match value(span, name) {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn an_exchange_by_the_conventions() {
    let span = span("POST", CloseReason::Completed, 200, &[]);
    assert_eq!((span.name.as_str(), span.error), ("POST /v1/*", None));
    assert_eq!(span.duration, Duration::from_millis(50));
    for (name, expected) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/*"),
        ("url.scheme", "https"),
        ("url.path", "/v1/chat/completions"),
        ("server.address", "chat.example.com"),
        ("client.address", "203.0.113.9"),
        ("network.peer.address", "192.0.2.7"),
        ("network.protocol.version", "2"),
        ("user_agent.original", "curl/8"),
        ("longwire.request_id", "id-1"),
        ("longwire.route", "chat"),
        ("longwire.kind", "sse"),
        ("longwire.close_reason", "completed"),
        ("longwire.upstream", "models"),
        ("longwire.endpoint", "gpu-a"),
        ("longwire.connection", "reused"),
    ] {
        assert_eq!(text(&span, name), expected, "{name}");
    }
    for (name, expected) in [
        ("http.response.status_code", 200),
        ("server.port", 8443),
        ("network.peer.port", 52520),
        ("http.request.body.size", 7),
        ("http.response.body.size", 100),
        ("longwire.attempts", 2),
        ("longwire.events", 2),
        ("longwire.heartbeats", 0),
    ] {
        assert_eq!(value(&span, name), Some(&Value::Integer(expected)), "{name}");
    }
    assert_eq!(value(&span, "longwire.first_byte_seconds"), Some(&Value::Number(0.031)));
    for name in ["error.type", "http.request.method_original", "longwire.principal"] {
        assert_eq!(value(&span, name), None, "{name}");
    }
}

/// The names in the first column of the table that begins so.
fn documented(first: &str) -> Vec<&'static str> {
    let document = include_str!("../../../docs/tracing.md");
    let rows = document.lines().skip_while(|line| !line.starts_with(&format!("| {first} |")));
    let rows = rows.skip(2).take_while(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap()).collect()
}

#[test]
fn the_document_has_every_name_and_no_other() {
    let full = Record {
        principal: Some("web"),
        close_code: Some(1000),
        closed_by: Some("client"),
        ..record("FROBNICATE")
    };
    let attempt = Attempt { at: Duration::ZERO, endpoint: "gpu-b".into(), cause: "status" };
    let ended = ended(CloseReason::Truncated, 200);
    let span = Span::of(&full, &details(), SystemTime::UNIX_EPOCH, ended, &[attempt]).unwrap();
    let names: Vec<_> = span.attributes.iter().map(|(name, _)| *name).collect();
    assert_eq!(documented("attribute"), names);
    let events: Vec<_> = span.events.iter().map(|event| event.name).collect();
    assert_eq!(documented("event"), events);
}

#[test]
fn what_is_an_error() {
    for (reason, status, error) in [
        (CloseReason::Completed, 200, None),
        (CloseReason::Completed, 404, None),
        (CloseReason::ClientClosed, 499, None),
        (CloseReason::Completed, 503, Some("503")),
        (CloseReason::Truncated, 200, Some("truncated")),
        (CloseReason::Killed, 200, Some("killed")),
        (CloseReason::UpstreamReset, 502, Some("upstream_reset")),
    ] {
        let span = span("GET", reason, status, &[]);
        assert_eq!(span.error.is_some(), error.is_some(), "{reason:?} {status}");
        let found = value(&span, "error.type").map(|_| text(&span, "error.type"));
        assert_eq!(found.as_deref(), error, "{reason:?} {status}");
        let described = span.error.is_some_and(|text| !text.is_empty());
        assert_eq!(described, reason.row().is_error, "the status says it else");
    }
}

#[test]
fn what_happened_is_told_in_its_order() {
    let failed =
        Attempt { at: Duration::from_millis(2), endpoint: "gpu-b".into(), cause: "connect_error" };
    let span = span("GET", CloseReason::Completed, 200, &[failed]);
    let events: Vec<_> = span.events.iter().map(|e| (e.name, e.at.as_millis())).collect();
    let expected = [
        ("attempt_failed", 2),
        ("connected", 3),
        ("request_sent", 4),
        ("response_head", 20),
        ("first_byte", 31),
    ];
    assert_eq!(events, expected);
    assert_eq!(span.events[0].attributes[1].1, Value::Text("connect_error".to_owned()));
}

#[test]
fn a_method_that_nobody_knows_is_in_no_name() {
    let span = span("FROBNICATE", CloseReason::Completed, 200, &[]);
    assert_eq!(span.name, "HTTP /v1/*");
    assert_eq!(text(&span, "http.request.method"), "_OTHER");
    assert_eq!(text(&span, "http.request.method_original"), "FROBNICATE");
}
