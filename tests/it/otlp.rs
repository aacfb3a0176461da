use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Authority, Peer, Proxy, ProxyBuilder, Response, Upstream, until, until_within,
};
use crate::live::{asks, listens};
use crate::tracing::{OK, SPAN, TRACE, parent};
use crate::websocket::{CLOSE, TEXT, Ws, agreeing, bye};

/// What the log says when nobody takes spans.
const LINE: &str = "spans are not taken by tracing.otlp.endpoint";

/// The longest that a span waits for others, and a busy machine.
const SENT: Duration = Duration::from_secs(20);

/// OpenTelemetry's own messages, behind a server that does as it is told.
async fn collector() -> Peer {
    Peer::serve(&["python", "otlp-collector/collector.py"]).await
}

/// `[tracing]` with spans for `collector`.
fn to(collector: &Peer, sample: f64) -> String {
    to_url(&format!("http://{}", collector.address), sample)
}

fn to_url(endpoint: &str, sample: f64) -> String {
    format!("[tracing]\notlp = {{ enabled = true, endpoint = \"{endpoint}\", sample = {sample} }}")
}

fn proxy(upstream: &Upstream, tables: &str) -> ProxyBuilder {
    Proxy::to(upstream.address).tables(tables)
}

/// The spans that were taken, once there are `count`; there must not be more.
async fn spans(collector: &Peer, count: usize) -> Vec<Value> {
    until_within(SENT, &format!("{count} spans are taken"), || async {
        collector.events("span").len() >= count
    })
    .await;
    let spans = collector.events("span");
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

async fn ask(proxy: &Proxy, path: &str, fields: &str) -> Response {
    let mut client = proxy.client().await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.example:81\r\n{fields}\r\n")).await;
    client.response().await
}

fn traced(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\n")
}

/// An event stream of two events, whose connection ends in its middle if `is_whole` is false.
async fn stream(is_whole: bool) -> Upstream {
    Upstream::sse(move |mut upstream| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.chunk("data: b\n\n").await;
        if is_whole {
            upstream.last_chunk().await;
            upstream.hold().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_is_a_span_of_its_clients_trace() {
    let (upstream, collector) = (stream(true).await, collector().await);
    let proxy = proxy(&upstream, &to(&collector, 0.0)).start().await;
    let fields = format!("{}user-agent: test/1\r\nx-request-id: id-1\r\n", traced("01"));
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(ask(&proxy, "/v1/chat?key=secret", &fields).await.status, 200);
    let span = &spans(&collector, 1).await[0];

    let [trace, forwarded, flags] = parent(&upstream.requests()[0]);
    assert_eq!(flags, "01");
    assert_eq!((&span["trace"], &span["span"]), (&json!(TRACE), &json!(forwarded)), "{trace}");
    assert_eq!(span["parent"], SPAN);
    assert_eq!(span["flags"], 0x301, "sampled, and the parent is elsewhere");
    let end = &proxy.logged("end", 1).await[0];
    assert_eq!((&end["trace_id"], &end["span_id"]), (&span["trace"], &span["span"]));

    assert_eq!((&span["title"], &span["kind"]), (&json!("GET /*"), &json!("SPAN_KIND_SERVER")));
    assert_eq!(span["status"], "STATUS_CODE_UNSET");
    let attributes = &span["attributes"];
    for (name, expected) in [
        ("http.request.method", json!("GET")),
        ("http.route", json!("/*")),
        ("http.response.status_code", json!(200)),
        ("url.scheme", json!("http")),
        ("url.path", json!("/v1/chat")),
        ("server.address", json!("a.example")),
        ("server.port", json!(81)),
        ("client.address", json!("127.0.0.1")),
        ("network.peer.address", json!("127.0.0.1")),
        ("network.protocol.version", json!("1.1")),
        ("user_agent.original", json!("test/1")),
        ("http.request.body.size", json!(0)),
        ("http.response.body.size", end["bytes_out"].clone()),
        ("longwire.request_id", json!("id-1")),
        ("longwire.route", json!("all")),
        ("longwire.kind", json!("sse")),
        ("longwire.close_reason", json!("completed")),
        ("longwire.upstream", json!("up")),
        ("longwire.endpoint", json!(upstream.address.to_string())),
        ("longwire.connection", json!("new")),
        ("longwire.attempts", json!(1)),
        ("longwire.events", json!(2)),
    ] {
        assert_eq!(attributes[name], expected, "{name} of {attributes:#}");
    }
    assert!(!span.to_string().contains("secret"), "{span}");
    let (start, over) = (span["start"].as_u64().unwrap(), span["end"].as_u64().unwrap());
    assert!(u128::from(start) >= before.as_nanos() && over > start, "{start} to {over}");
    let took = end["duration_seconds"].as_f64().unwrap();
    assert!(((over - start) as f64 / 1e9 - took).abs() < 1e-5, "{took} s in the log");
    let events = span["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["connected", "request_sent", "response_head", "first_byte"]);
    assert!(events.iter().all(|event| (start..=over).contains(&event["at"].as_u64().unwrap())));

    let request = &collector.events("request")[0];
    assert_eq!(request["line"], "POST /v1/traces HTTP/1.1");
    assert_eq!(request["type"], "application/x-protobuf");
    assert!(request["agent"].as_str().unwrap().starts_with("longwire/"), "{request}");
    let resource = &span["resource"];
    assert_eq!(resource["service.name"], "longwire");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["service.instance.id"].as_str().unwrap().len(), 36);
    assert_eq!(span["scope"], "longwire");
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error() {
    let (upstream, collector) = (stream(false).await, collector().await);
    let proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    ask(&proxy, "/", "").await;
    let span = &spans(&collector, 1).await[0];
    assert_eq!(span["status"], "STATUS_CODE_ERROR");
    assert!(span["message"].as_str().unwrap().contains("in the middle"), "{span}");
    assert_eq!(span["attributes"]["error.type"], "truncated");
    assert_eq!(span["attributes"]["longwire.close_reason"], "truncated");
    assert_eq!(span["attributes"]["http.response.status_code"], 200);
}

#[tokio::test]
async fn a_stream_that_is_killed_is_an_error_of_a_trace_that_began_here() {
    let upstream = Upstream::sse(|mut upstream| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let collector = collector().await;
    let proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    let _client = listens(&proxy, "/", "a-1").await;
    assert!(collector.events("request").is_empty(), "a span is sent when it has ended");
    let head = "DELETE /api/streams/a-1 HTTP/1.1\r\nHost: localhost";
    assert_eq!(proxy.admin_says(head, "").await.0, 202);
    let span = &spans(&collector, 1).await[0];
    assert_eq!(span["status"], "STATUS_CODE_ERROR");
    assert_eq!(span["attributes"]["error.type"], "killed");
    let [trace, forwarded, flags] = parent(&upstream.requests()[0]);
    assert_eq!((&span["trace"], &span["span"]), (&json!(trace), &json!(forwarded)));
    assert_eq!((&span["parent"], flags.as_str()), (&json!(""), "03"), "sampled and random");
    assert_eq!(span["flags"], 0x103, "nobody is the parent");
}

#[tokio::test]
async fn tries_that_come_to_nothing_are_told() {
    let bad = Upstream::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let (good, collector) = (Upstream::answering(OK).await, collector().await);
    let proxy = Proxy::to_all(&[bad.address, good.address])
        .upstream("balance = \"round_robin\"")
        .tables(&to(&collector, 1.0))
        .start()
        .await;
    for _ in 0..2 {
        assert_eq!(ask(&proxy, "/", "").await.status, 200);
    }
    let spans = spans(&collector, 2).await;
    let twice = spans.iter().find(|span| span["attributes"]["longwire.attempts"] == 2).unwrap();
    assert_eq!(twice["attributes"]["longwire.endpoint"], good.address.to_string());
    let failed = &twice["events"][0];
    assert_eq!(failed["name"], "attempt_failed", "{twice:#}");
    let expected = json!({
        "longwire.endpoint": bad.address.to_string(), "longwire.cause": "status",
    });
    assert_eq!(failed["attributes"], expected);
}

#[tokio::test]
async fn answers_of_our_own_have_spans_too() {
    let (upstream, collector) = (Upstream::answering(OK).await, collector().await);
    let own = "[routes.own]\npaths = [\"=/own\"]\nrespond = { status = 200, body = \"own\" }\n";
    let tables = format!("{own}{}", to(&collector, 1.0));
    let proxy = proxy(&upstream, &tables)
        .route("hosts = [\"a.example\"]\npaths = [\"/v1/\"]")
        .start()
        .await;
    for (path, status) in [("/own", 200), ("/nowhere", 404), ("/a/../b", 400)] {
        assert_eq!(ask(&proxy, path, "").await.status, status);
    }
    let spans = spans(&collector, 3).await;
    let of = |status: u16| {
        let is_one = |span: &&Value| span["attributes"]["http.response.status_code"] == status;
        spans.iter().find(is_one).unwrap()
    };
    assert_eq!(of(200)["title"], "GET /own");
    assert_eq!(
        (&of(404)["title"], &of(404)["attributes"]["http.route"]),
        (&json!("GET"), &Value::Null)
    );
    assert_eq!(of(400)["attributes"]["longwire.connection"], "none");
    assert!(spans.iter().all(|span| span["status"] == "STATUS_CODE_UNSET"), "{spans:#?}");
}

#[tokio::test]
async fn what_its_parent_has_not_marked_is_not_recorded() {
    let (upstream, collector) = (Upstream::answering(OK).await, collector().await);
    let proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    ask(&proxy, "/", &traced("00")).await;
    ask(&proxy, "/", &traced("01")).await;
    let span = &spans(&collector, 1).await[0];
    let requests = upstream.requests();
    assert_eq!(parent(&requests[0])[2], "00", "nor by those behind");
    assert_eq!(span["span"], parent(&requests[1])[1]);
}

#[tokio::test]
async fn half_of_the_traces_are_recorded_and_their_ids_say_which() {
    const ASKED: usize = 400;
    let (upstream, collector) = (Upstream::answering(OK).await, collector().await);
    let proxy = proxy(&upstream, &to(&collector, 0.5)).start().await;
    let mut client = proxy.client().await;
    for _ in 0..ASKED {
        client.get("/").await;
        assert_eq!(client.response().await.status, 200);
    }
    // As TraceIdRatioBased of OpenTelemetry's SDKs decides by the last eight bytes.
    let is_in = |trace: &str| u64::from_str_radix(&trace[16..], 16).unwrap() < 1 << 63;
    let parents: Vec<_> = upstream.requests().iter().map(|request| parent(request)).collect();
    let (sampled, not): (Vec<_>, Vec<_>) = parents.iter().partition(|[_, _, flags]| flags == "03");
    assert!(sampled.iter().all(|[trace, ..]| is_in(trace)));
    assert!(not.iter().all(|[trace, _, flags]| !is_in(trace) && flags == "02"));
    // Six standard deviations around the half.
    assert!((140..=260).contains(&sampled.len()), "{} of {ASKED}", sampled.len());
    let spans = spans(&collector, sampled.len()).await;
    assert!(spans.iter().all(|span| is_in(span["trace"].as_str().unwrap())));
}

#[tokio::test]
async fn a_collector_that_is_dead_costs_a_line_and_gets_what_it_missed() {
    let upstream = Upstream::answering(OK).await;
    // Nobody listens there, until somebody does.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tables = to_url(&format!("http://127.0.0.1:{port}"), 1.0);
    let proxy = proxy(&upstream, &tables).start().await;
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(ask(&proxy, "/", "").await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    proxy.logged(LINE, 1).await;
    let connects = ["upstream_connects_total", "refused"];
    until("it was tried again", || async { proxy.sum(&connects).await >= 2.0 }).await;
    assert_eq!(proxy.log(LINE).len(), 1, "once in a minute");
    let port = port.to_string();
    let collector = Peer::serve(&["python", "otlp-collector/collector.py", "--port", &port]).await;
    spans(&collector, 5).await;
    proxy.logged("spans are taken again", 1).await;
    assert_eq!(proxy.metric(&["longwire_spans_dropped_total"]).await, 0.0);
}

#[tokio::test]
async fn a_collector_that_is_slow_slows_nobody_and_what_finds_no_room_is_counted() {
    const ASKED: usize = 5000;
    let (upstream, mut collector) = (stream(true).await, collector().await);
    collector.tell("delay 5").await;
    let fine = "[routes.fine]\npaths = [\"/fine\"]\nrespond = { status = 200, body = \"\" }\n";
    let proxy = proxy(&upstream, &format!("{fine}{}", to(&collector, 1.0))).start().await;
    let request = "GET /fine HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50);
    let mut client = proxy.client().await;
    for _ in 0..ASKED / 50 {
        client.send(&request).await;
        for _ in 0..50 {
            assert_eq!(client.response().await.status, 200);
        }
    }
    let requests = collector.events("request").len();
    assert!(requests <= 3, "the others are not waited for: {requests}");
    let began = Instant::now();
    assert_eq!(ask(&proxy, "/", "").await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let dropped = ["longwire_spans_dropped_total"];
    assert!(proxy.metric(&dropped).await > 500.0, "{}", proxy.metric(&dropped).await);
    proxy.logged("spans were lost", 1).await;
    collector.tell("delay 0").await;
    until_within(SENT, "each was taken or counted", || async {
        proxy.metric(&dropped).await as usize + collector.events("span").len() == ASKED + 1
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_refused_is_not_sent_again_and_one_that_may_come_later_is() {
    let (upstream, mut collector) = (Upstream::answering(OK).await, collector().await);
    collector.tell("status 400").await;
    let proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    ask(&proxy, "/", "").await;
    proxy.metric_becomes(&["longwire_spans_dropped_total"], 1.0).await;
    assert_eq!(collector.events("request").len(), 1);
    collector.tell("status 503").await;
    ask(&proxy, "/", "").await;
    collector.saw("request", 2).await;
    collector.tell("status 200").await;
    let request = parent(&upstream.requests()[1]);
    assert_eq!(spans(&collector, 1).await[0]["trace"], request[0]);
    assert_eq!(proxy.metric(&["longwire_spans_dropped_total"]).await, 1.0);
}

#[tokio::test]
async fn the_last_spans_get_out_when_the_process_ends() {
    let upstream = Upstream::sse(|mut upstream| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let collector = collector().await;
    let server = "drain = { grace = \"300ms\", spread = \"100ms\" }";
    let mut proxy = proxy(&upstream, &to(&collector, 1.0)).server(server).start().await;
    let _client = asks(&proxy, "/", "a-1").await;
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0));
    let span = &spans(&collector, 1).await[0];
    assert_eq!(span["attributes"]["error.type"], "drained");
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_the_end_up_for_a_moment_only() {
    let (upstream, mut collector) = (Upstream::answering(OK).await, collector().await);
    collector.tell("delay 60").await;
    let mut proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    ask(&proxy, "/", "").await;
    proxy.signal("TERM");
    let began = Instant::now();
    assert_eq!(proxy.exit_code().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(proxy.logged("spans were lost", 1).await[0]["spans"], 1);
}

#[tokio::test]
async fn a_reload_changes_where_spans_go_and_whether_there_are_any() {
    let (upstream, one, other) =
        (Upstream::answering(OK).await, collector().await, collector().await);
    let proxy = proxy(&upstream, &to(&one, 1.0)).start().await;
    ask(&proxy, "/", "").await;
    spans(&one, 1).await;
    proxy.rewrite(&one.address.to_string(), &other.address.to_string());
    assert_eq!(proxy.reload().await.0, 200);
    ask(&proxy, "/", "").await;
    spans(&other, 1).await;
    proxy.rewrite("enabled = true", "enabled = false");
    assert_eq!(proxy.reload().await.0, 200);
    ask(&proxy, "/", "").await;
    assert_eq!(parent(&upstream.requests()[2])[2], "02", "nobody records");
    proxy.rewrite("enabled = false", "enabled = true");
    assert_eq!(proxy.reload().await.0, 200);
    ask(&proxy, "/", "").await;
    let last = parent(&upstream.requests()[3]);
    assert_eq!(spans(&other, 2).await[1]["trace"], last[0]);
    assert_eq!(one.events("span").len(), 1);
}

#[tokio::test]
async fn a_collector_with_tls_gets_spans_of_those_who_trust_it() {
    let (upstream, collector, authority) =
        (Upstream::answering(OK).await, collector().await, Authority::new());
    let listener = format!("tls.certificates = [{}]", authority.sign("otel", &["127.0.0.1"]));
    let front = Proxy::to(collector.address).listener(&listener).start().await;
    let tables = to_url(&format!("https://{}/inner", front.address), 1.0);
    let trusted = format!("SSL_CERT_FILE={}", authority.file("ca.pem").display());
    let trusting = proxy(&upstream, &tables).within(&["env", &trusted]).start().await;
    let other = proxy(&upstream, &tables).start().await;
    ask(&other, "/", "").await;
    other.logged(LINE, 1).await;
    ask(&trusting, "/", "").await;
    assert_eq!(spans(&collector, 1).await[0]["trace"], parent(&upstream.requests()[1])[0]);
    let request = &collector.events("request")[0];
    assert_eq!(request["line"], "POST /inner/v1/traces HTTP/1.1");
}

#[tokio::test]
async fn whoever_runs_it_says_what_it_is_called() {
    let (upstream, collector) = (Upstream::answering(OK).await, collector().await);
    let proxy = proxy(&upstream, &to(&collector, 1.0))
        .within(&[
            "env",
            "OTEL_SERVICE_NAME=edge",
            "OTEL_RESOURCE_ATTRIBUTES=service.namespace=chat",
        ])
        .start()
        .await;
    ask(&proxy, "/", "").await;
    let resource = &spans(&collector, 1).await[0]["resource"];
    assert_eq!(resource["service.name"], "edge");
    assert_eq!(resource["service.namespace"], "chat");
}

#[tokio::test]
async fn http2_clients_have_spans() {
    let (upstream, collector) = (Upstream::answering(OK).await, collector().await);
    let proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    let curl = ["curl", "-sS", "--http2-prior-knowledge", &proxy.url()];
    assert_eq!(Peer::program(&curl).output().await.unwrap().stdout, b"ok");
    let span = &spans(&collector, 1).await[0];
    assert_eq!(span["attributes"]["network.protocol.version"], "2");
    let agent = span["attributes"]["user_agent.original"].as_str().unwrap();
    assert!(agent.starts_with("curl/"), "{agent}");
    let port = proxy.address.port();
    assert_eq!(span["attributes"]["server.port"], port, "of :authority");
}

#[tokio::test]
async fn websockets_have_spans() {
    let upstream = agreeing(|upstream| async move { upstream.echo().await }).await;
    let collector = collector().await;
    let proxy = proxy(&upstream, &to(&collector, 1.0)).start().await;
    let mut socket = Ws::open(&proxy).await;
    socket.send(TEXT, "hello").await;
    socket.gets("hello").await;
    socket.send(CLOSE, bye(1000, "")).await;
    assert_eq!(socket.gets_close().await.0, 1000);
    drop(socket);
    let attributes = &spans(&collector, 1).await[0]["attributes"];
    for (name, expected) in [
        ("http.response.status_code", json!(101)),
        ("longwire.kind", json!("websocket")),
        ("longwire.events", json!(1)),
        ("longwire.close_code", json!(1000)),
        ("longwire.closed_by", json!("client")),
    ] {
        assert_eq!(attributes[name], expected, "{name} of {attributes:#}");
    }
}
