use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use longwire::config;
use longwire::config::model::Target;
use longwire::server::run;
use longwire::telemetry::log;
use tokio::net::TcpStream;

use crate::harness::{Conversation, Proxy, ProxyBuilder, SSE_HEAD, Upstream, soon, taken, until};
use crate::websocket::{AGREE, ASK, PING, PONG, Ws};

/// No configuration can say so: a timer that adds this to a time panics.
const TOO_LONG: Duration = Duration::MAX;

/// A real process with the product's code, whose route `all` panics: on an event stream when its
/// first heartbeat is due, on a WebSocket at its first ping. It is run by the other tests.
#[test]
#[ignore = "it is the process that the tests of this file talk to"]
fn the_process() {
    let path = std::env::args().next_back().unwrap();
    // Whoever runs all tests that are ignored gives no file.
    if !path.ends_with(".toml") {
        return;
    }
    let mut config = config::load(Path::new(&path)).unwrap().config;
    for route in config.routes.iter_mut().filter(|route| route.name == "all") {
        let Target::Proxy(rules) = &mut route.target else { continue };
        rules.timeouts.idle = Some(TOO_LONG);
        rules.websocket.pong_timeout = TOO_LONG;
    }
    for upstream in config.upstreams.iter_mut().filter(|upstream| upstream.name == "odd") {
        // Nor so: what ticks this often panics.
        upstream.health.active.as_mut().unwrap().interval = Duration::ZERO;
    }
    let _log = log::init(&config.log);
    let workers = config.server.workers;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build().unwrap();
    runtime.block_on(async { run::bind(config).unwrap().serve(None).await.unwrap() });
    runtime.shutdown_background();
}

/// One worker, so that everything shares the thread that panics.
pub fn panicking(upstream: &Upstream, rules: &str) -> ProxyBuilder {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let command =
        [program, "crash::the_process", "--exact", "--ignored", "--nocapture", "--test-threads=2"];
    let fine = "[routes.fine]\npaths = [\"/fine\"]\nupstream = \"up\"\n\
                sse.heartbeat = \"50ms\"\nwebsocket.ping = \"50ms\"";
    Proxy::to(upstream.address)
        .server("workers = 1")
        .listener("protocols = [\"http/1.1\", \"h2c\"]")
        .route(&format!("sse.heartbeat = \"200ms\"\nwebsocket.ping = \"200ms\"\n{rules}"))
        .tables(fine)
        .command(&command)
}

/// Answers with `head` and an event, and holds; or with a WebSocket that says a word and holds.
pub async fn upstream(head: &'static str) -> Upstream {
    Upstream::serve(move |mut upstream: Conversation| async move {
        let asked = upstream.request().await;
        if asked.contains("Upgrade: websocket") {
            upstream.write(AGREE).await;
            return Ws::of(upstream).hold().await;
        }
        upstream.write(head).await;
        // Read in one piece with it, the event would fall to the panic.
        taken(&upstream.stream).await;
        let is_chunked = head.contains("chunked");
        upstream.write(if is_chunked { "9\r\ndata: a\n\n\r\n" } else { "data: a\n\n" }).await;
        upstream.hold().await;
    })
    .await
}

/// The counts and the log after `times` panics, and that the proxy is well.
async fn is_well(proxy: &mut Proxy, kind: &str, times: usize) {
    let kind = format!("kind=\"{kind}\"");
    let closed = ["longwire_streams_closed_total{", "\"proxy_error\"", "route=\"all\"", &kind];
    proxy.metric_becomes(&closed, times as f64).await;
    proxy.metric_becomes(&["longwire_streams_active{", "route=\"all\"", &kind], 0.0).await;
    let lines = proxy.logged("panic", times).await;
    assert_eq!(lines.len(), times, "{lines:?}");
    assert_eq!(lines[0]["what"], "overflow when adding duration to instant");
    assert!(lines[0]["place"].as_str().unwrap().contains(".rs:"), "{}", lines[0]);
    assert_eq!(lines[0]["level"], "ERROR");
    let ends = proxy.logged("end", times).await;
    let broken: Vec<_> = ends.iter().filter(|end| end["reason"] == "proxy_error").collect();
    assert_eq!(broken.len(), times, "{ends:?}");
    assert_eq!((&broken[0]["error"], &broken[0]["route"]), (&true.into(), &"all".into()));
    assert!(proxy.is_running());
}

#[tokio::test]
async fn a_panic_ends_its_exchange_visibly_and_no_other() {
    let upstream = upstream(SSE_HEAD).await;
    let mut proxy = panicking(&upstream, "limits = { streams = 1 }").start().await;
    let mut fine = proxy.client().await;
    fine.get("/fine").await;
    fine.head().await;
    assert_eq!(fine.text().await, "data: a\n\n");
    for _ in 0..3 {
        // Its place is free again each time.
        let mut client = proxy.client().await;
        client.get("/").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(client.text().await, "data: a\n\n", "what came before is delivered");
        assert_eq!(client.chunk().await, None, "no last chunk");
    }
    is_well(&mut proxy, "sse", 3).await;
    until("the upstream's connections are closed", || async { upstream.open() == 1 }).await;
    for _ in 0..3 {
        assert_eq!(fine.text().await, ": keep-alive\n", "its neighbour goes on");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_does_not_look_whole() {
    let upstream = upstream("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    let mut proxy = panicking(&upstream, "").start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.text(), "data: a\n\n");
    assert!(!response.complete, "a reset, no FIN");
    is_well(&mut proxy, "sse", 1).await;
}

#[tokio::test]
async fn over_http_2_the_stream_is_reset_and_its_neighbours_run_on() {
    let upstream = upstream(SSE_HEAD).await;
    let mut proxy = panicking(&upstream, "").start().await;
    let stream = soon("a connection", TcpStream::connect(proxy.address)).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut ask = async |path: &str| {
        let request = http::Request::get(format!("http://test{path}")).body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        let mut body = soon("the head", response).await.unwrap().into_body();
        let first = soon("an event", body.data()).await.unwrap().unwrap();
        assert_eq!(first, Bytes::from_static(b"data: a\n\n"));
        body
    };
    let mut fine = ask("/fine").await;
    for _ in 0..2 {
        let mut broken = ask("/").await;
        let error = soon("the end", broken.data()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{error}");
    }
    is_well(&mut proxy, "sse", 2).await;
    let mut ask_again = ask("/fine").await;
    for body in [&mut fine, &mut ask_again] {
        let next = soon("a heartbeat", body.data()).await.unwrap().unwrap();
        assert!(next.starts_with(b": keep-alive\n"), "{next:?}");
    }
}

#[tokio::test]
async fn a_websocket_ends_without_a_close_frame() {
    let upstream = upstream("").await;
    let mut proxy = panicking(&upstream, "").start().await;
    let fine = ASK.replace("GET /chat ", "GET /fine ");
    let mut fine = Ws::ask(proxy.client().await, &fine).await;
    let mut client = Ws::open(&proxy).await;
    assert_eq!(client.try_frame().await, None, "the end of the connection and nothing else");
    is_well(&mut proxy, "websocket", 1).await;
    for _ in 0..2 {
        let frame = fine.frame().await;
        assert_eq!(frame.opcode(), PING, "its neighbour goes on: {frame:?}");
        fine.send(PONG, frame.payload).await;
    }
}

#[tokio::test]
async fn what_goes_on_in_the_background_is_begun_anew() {
    let upstream = upstream(SSE_HEAD).await;
    let address = upstream.address;
    let mut proxy = panicking(&upstream, "")
        .tables(&format!(
            "[upstreams.odd]\nendpoints = [\"http://{address}\"]\nhealth.active.path = \"/\"\n\
             [routes.fine]\npaths = [\"/fine\"]\nupstream = \"odd\""
        ))
        .start()
        .await;
    let begun = proxy.logged("a background task has panicked and is begun anew", 2).await;
    assert_eq!(begun[0]["task"], "check health", "{begun:?}");
    assert_eq!(begun[0]["level"], "ERROR");
    let mut client = proxy.client().await;
    client.get("/fine").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "), "its upstream serves all the same");
    assert!(proxy.is_running());
}

// === What the kernel refuses ===

#[tokio::test]
async fn a_failing_accept_is_told_once_and_clients_are_served_all_the_same() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    for error in ["ENOMEM", "ENOBUFS", "EPROTO", "EPERM"] {
        // It counts by thread; the tracer is not the parent, so that the proxy is our child.
        let inject = format!("inject=accept4:error={error}:when=1..20");
        let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4", "-e"];
        let within = [&strace[..], &[&inject]].concat();
        let mut proxy =
            Proxy::to(upstream.address).server("workers = 1").within(&within).start().await;
        for _ in 0..3 {
            let mut client = proxy.client().await;
            client.get("/").await;
            assert_eq!(client.response().await.status, 200, "{error}");
        }
        let told = proxy.logged("cannot accept connections", 1).await;
        assert!(told.len() <= 3, "{error}, once a second: {told:?}");
        assert!(told[0]["error"].as_str().is_some_and(|text| !text.is_empty()), "{told:?}");
        proxy.signal("TERM");
        assert_eq!(proxy.exit_code().await, Some(0), "{error}");
    }
}
