//! What is sent again, and above all what is not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::sync::Notify;

use crate::harness::{Client, Conversation, Peer, Proxy, Response, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";

/// Endpoints that fail are not put aside: each request meets the same circumstances.
const NO_EJECTION: &str = "health.passive.failures = 0";

/// An address that refuses connections for as long as the socket lives: nobody else can have it.
fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

async fn get(proxy: &Proxy) -> Response {
    let mut client = proxy.client().await;
    client.get("/").await;
    client.response().await
}

async fn post(proxy: &Proxy, body: &[u8]) -> Response {
    let mut client = proxy.client().await;
    client.post("/", body).await;
    client.response().await
}

async fn retries(proxy: &Proxy, cause: &str) -> f64 {
    let cause = format!("cause=\"{cause}\"");
    proxy.metric(&["longwire_upstream_retries_total{", &cause]).await
}

/// The log line of the exchange of that number, from 1.
async fn end(proxy: &Proxy, number: usize) -> Value {
    proxy.logged("end", number).await[number - 1].clone()
}

/// On each connection the first request is answered; the second, a POST of `length` bytes, meets
/// `fate`. It is never sent again, `rounds` times.
async fn is_not_sent_again<S, F>(length: usize, rounds: usize, fate: S)
where
    S: Fn(Conversation) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let posts = Arc::new(AtomicUsize::new(0));
    let (counter, fate) = (Arc::clone(&posts), Arc::new(fate));
    let upstream = Upstream::serve(move |mut upstream| {
        let (counter, fate) = (Arc::clone(&counter), Arc::clone(&fate));
        async move {
            let head = upstream.head_alone().await;
            if head.starts_with("POST") {
                // On a new connection: it is a second delivery.
                counter.fetch_add(1, Ordering::SeqCst);
                return;
            }
            upstream.write(OK).await;
            if upstream.stream.readable().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
                fate(upstream).await;
            }
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).upstream(NO_EJECTION).start().await;
    let body = vec![b'x'; length];
    for round in 1..=rounds {
        assert_eq!(get(&proxy).await.text(), "ok", "round {round}");
        proxy.logged("end", 2 * round - 1).await;
        let response = post(&proxy, &body).await;
        assert_eq!(response.error(), ("upstream_reset".into(), 502), "round {round}");
        let end = end(&proxy, 2 * round).await;
        let facts = (&end["connection"], &end["attempts"], &end["reason"]);
        let expected = (&"reused".into(), &1.into(), &"upstream_reset".into());
        assert_eq!(facts, expected, "round {round}: {end}");
        assert_eq!(posts.load(Ordering::SeqCst), round, "POSTs at the server in round {round}");
        assert_eq!(upstream.connections(), round, "one connection for each round");
    }
    assert_eq!(proxy.sum(&["longwire_upstream_retries_total{"]).await, 0.0);
}

#[tokio::test]
async fn a_post_that_was_read_whole_before_a_fin_is_not_sent_again() {
    for length in [0, 100, 200 << 10] {
        is_not_sent_again(length, 20, move |mut upstream| async move {
            upstream.head_alone().await;
            assert_eq!(upstream.bytes(length).await.len(), length);
        })
        .await;
    }
}

#[tokio::test]
async fn a_post_that_was_read_whole_before_a_reset_is_not_sent_again_two_hundred_times() {
    is_not_sent_again(100, 200, |mut upstream| async move {
        upstream.head_alone().await;
        assert_eq!(upstream.bytes(100).await.len(), 100);
        upstream.reset();
    })
    .await;
}

#[tokio::test]
async fn a_large_post_that_was_read_whole_before_a_reset_is_not_sent_again() {
    is_not_sent_again(200 << 10, 20, |mut upstream| async move {
        upstream.head_alone().await;
        assert_eq!(upstream.bytes(200 << 10).await.len(), 200 << 10);
        upstream.reset();
    })
    .await;
}

#[tokio::test]
async fn a_post_without_a_body_that_was_read_before_a_reset_is_not_sent_again() {
    is_not_sent_again(0, 100, |mut upstream| async move {
        upstream.head_alone().await;
        upstream.reset();
    })
    .await;
}

#[tokio::test]
async fn a_post_whose_head_alone_was_read_before_a_reset_is_not_sent_again() {
    for length in [100, 200 << 10] {
        is_not_sent_again(length, 50, |mut upstream| async move {
            upstream.head_alone().await;
            upstream.reset();
        })
        .await;
    }
}

#[tokio::test]
async fn a_post_of_which_the_first_line_was_read_is_not_sent_again() {
    is_not_sent_again(100, 50, |mut upstream| async move {
        use tokio::io::AsyncReadExt;
        let mut line = [0; 17];
        upstream.stream.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"POST / HTTP/1.1\r\n");
        upstream.reset();
    })
    .await;
}

/// A server is killed with the POST in its hands; another stands ready, and must not get it.
async fn killed(server: &[&str]) {
    let (mut first, second) = (Peer::serve(server).await, Peer::serve(server).await);
    let (one, two) = (first.address, second.address);
    let endpoints = format!("\"http://{one}\", {{ url = \"http://{two}\", backup = true }}");
    let proxy = Proxy::to_endpoints(&endpoints).start().await;
    let mut client = proxy.client().await;
    client.get("/counts").await;
    assert_eq!(client.response().await.status, 200);
    proxy.logged("end", 1).await;
    client
        .send("POST /hold HTTP/1.1\r\nHost: a\r\nX-Number: 7\r\nContent-Length: 4\r\n\r\nhold")
        .await;
    first.saw("request", 1).await;
    first.kill().await;
    assert_eq!(client.response().await.error(), ("upstream_reset".into(), 502), "{server:?}");
    let end = end(&proxy, 2).await;
    assert_eq!((&end["connection"], &end["attempts"]), (&"reused".into(), &1.into()), "{end}");
    client.get("/counts").await;
    let counts: Value = serde_json::from_slice(&client.response().await.body).unwrap();
    assert_eq!(counts["requests"], 0, "the other server did not get it: {counts}");
}

#[tokio::test]
async fn a_post_that_a_killed_server_held_is_not_sent_to_another() {
    killed(&["node", "keep-alive-race/node-server.mjs"]).await;
    killed(&["python", "keep-alive-race/uvicorn-server.py"]).await;
}

/// The idle connection ends while the proxy cannot look; then it is used.
async fn ended_before(reset: bool) {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let gone = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&gone);
    let upstream = Upstream::serve(move |mut upstream| {
        let (given, left) = (Arc::clone(&given), Arc::clone(&left));
        async move {
            upstream.request().await;
            upstream.write(OK).await;
            tokio::select! {
                () = given.notified() => {}
                () = upstream.hold() => return,
            }
            if reset {
                upstream.reset()
            } else {
                drop(upstream)
            }
            left.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).upstream("pool.learn = false").start().await;
    for round in 0..20 {
        let mut client = proxy.client().await;
        client.get("/").await;
        assert_eq!(client.response().await.text(), "ok");
        proxy.logged("end", 2 * round + 1).await;
        proxy.signal("STOP");
        word.notify_one();
        until("it is closed", || async { gone.load(Ordering::SeqCst) == round + 1 }).await;
        client.post("/", &[b'x'; 1000]).await;
        proxy.signal("CONT");
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "ok"), "reset: {reset}");
        // This one's connection must be out of the way, too.
        proxy.logged("end", 2 * round + 2).await;
        word.notify_one();
        until("it is closed", || async { gone.load(Ordering::SeqCst) == round + 2 }).await;
        gone.fetch_sub(1, Ordering::SeqCst);
        let idle = ["longwire_upstream_connections{", "state=\"idle\""];
        proxy.metric_becomes(&idle, 0.0).await;
    }
    let posts = upstream.requests().iter().filter(|request| request.starts_with("POST")).count();
    assert_eq!(posts, 20, "each was delivered once");
}

#[tokio::test]
async fn a_post_that_comes_after_a_fin_is_answered() {
    ended_before(false).await;
}

#[tokio::test]
async fn a_post_that_comes_after_a_reset_is_answered() {
    ended_before(true).await;
}

#[tokio::test]
async fn an_idempotent_request_on_a_kept_connection_may_be_sent_again() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write(OK).await;
        upstream.request().await;
        upstream.reset();
    })
    .await;
    let proxy = Proxy::to(upstream.address).upstream(NO_EJECTION).start().await;
    for number in 1..=2 {
        assert_eq!(get(&proxy).await.text(), "ok");
        proxy.logged("end", number).await;
    }
    assert_eq!(end(&proxy, 2).await["attempts"], 2);
    assert_eq!(retries(&proxy, "not_delivered").await, 1.0);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_response_that_has_begun_is_never_followed_by_another_try() {
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        upstream.write(OK).await;
        upstream.request().await;
        upstream.write("HTTP/1.1 200 OK\r\nContent-Le").await;
        upstream.reset();
    })
    .await;
    let proxy = Proxy::to(upstream.address).upstream(NO_EJECTION).start().await;
    assert_eq!(get(&proxy).await.text(), "ok");
    proxy.logged("end", 1).await;
    assert_eq!(get(&proxy).await.error(), ("upstream_reset".into(), 502));
    assert_eq!(upstream.requests().len(), 2, "not even a GET");
}

#[tokio::test]
async fn a_refused_connection_sends_the_post_to_another_endpoint() {
    let (refused, _socket) = refusing();
    let upstream = Upstream::answering(OK).await;
    let (good, body) = (upstream.address, vec![b'x'; 100]);
    let endpoints = format!("\"http://{refused}\", {{ url = \"http://{good}\", backup = true }}");
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).start().await;
    assert_eq!(post(&proxy, &body).await.text(), "ok");
    let end = end(&proxy, 1).await;
    assert_eq!((&end["attempts"], &end["endpoint"]), (&2.into(), &good.to_string().into()));
    assert_eq!(retries(&proxy, "connect_error").await, 1.0);
    let request = &upstream.requests()[0];
    assert!(request.ends_with(&"x".repeat(100)), "with its body: {request}");
}

#[tokio::test]
async fn when_all_endpoints_refuse_the_client_hears_it() {
    let ((one, _first), (two, _second)) = (refusing(), refusing());
    let proxy = Proxy::to_all(&[one, two]).upstream(NO_EJECTION).start().await;
    assert_eq!(post(&proxy, b"hi").await.error(), ("connect_refused".into(), 502));
    assert_eq!(end(&proxy, 1).await["attempts"], 2, "each endpoint was tried once");
}

/// Two endpoints, the first of them always busy.
async fn one_is_busy() -> (Upstream, Upstream, String) {
    let (busy, good) = (Upstream::answering(BUSY).await, Upstream::answering(OK).await);
    let (one, two) = (busy.address, good.address);
    let endpoints = format!("\"http://{one}\", {{ url = \"http://{two}\", backup = true }}");
    (busy, good, endpoints)
}

#[tokio::test]
async fn a_listed_status_is_tried_elsewhere_when_that_is_safe_or_wanted() {
    let (busy, good, endpoints) = one_is_busy().await;
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).start().await;
    assert_eq!(get(&proxy).await.text(), "ok", "a GET may be repeated");
    assert_eq!(retries(&proxy, "status").await, 1.0);
    assert_eq!(post(&proxy, b"hi").await.text(), "busy", "a POST may not, unless it is said");
    assert_eq!((busy.requests().len(), good.requests().len()), (2, 1));

    let said = "retry = { idempotent_only = false, on = [\"503\"] }";
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).route(said).start().await;
    assert_eq!(post(&proxy, b"hi").await.text(), "ok");
    let end = end(&proxy, 1).await;
    assert_eq!((&end["attempts"], &end["status"]), (&2.into(), &200.into()), "{end}");

    let other = "retry = { idempotent_only = false, on = [\"502\"] }";
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).route(other).start().await;
    assert_eq!(get(&proxy).await.text(), "busy", "503 is not listed");
}

#[tokio::test]
async fn no_attempts_and_no_budget_mean_no_retry() {
    for rule in ["retry.attempts = 0", "retry.budget_percent = 0"] {
        let (_busy, good, endpoints) = one_is_busy().await;
        let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).route(rule).start().await;
        assert_eq!(get(&proxy).await.text(), "busy", "{rule}");
        assert_eq!(good.requests().len(), 0, "{rule}");
        assert_eq!(proxy.sum(&["longwire_upstream_retries_total{"]).await, 0.0, "{rule}");
    }
}

#[tokio::test]
async fn the_budget_bounds_what_a_broken_upstream_costs() {
    let (busy, _good, endpoints) = one_is_busy().await;
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).start().await;
    let mut client = proxy.client().await;
    let mut repeated = 0;
    for _ in 0..300 {
        client.get("/").await;
        repeated += usize::from(client.response().await.status == 200);
    }
    assert_eq!(busy.requests().len(), 300);
    // A fifth of them, and the floor for quiet upstreams.
    assert!((55..=85).contains(&repeated), "{repeated} of 300 were repeated");
    assert_eq!(retries(&proxy, "status").await, repeated as f64);
}

#[tokio::test]
async fn a_body_that_is_too_large_to_keep_is_not_sent_again() {
    let (_busy, good, endpoints) = one_is_busy().await;
    let rule = "retry = { idempotent_only = false, on = [\"503\"], replay_body = \"1KiB\" }";
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).route(rule).start().await;
    assert_eq!(post(&proxy, &[b'x'; 1024]).await.text(), "ok", "this one was kept");
    assert_eq!(post(&proxy, &[b'x'; 1025]).await.text(), "busy");
    assert_eq!(good.requests().len(), 1);
}

#[tokio::test]
async fn a_chunked_body_is_kept_and_sent_again_whole() {
    let (_busy, good, endpoints) = one_is_busy().await;
    let rule = "retry = { idempotent_only = false, on = [\"503\"] }";
    let proxy = Proxy::to_endpoints(&endpoints).upstream(NO_EJECTION).route(rule).start().await;
    let mut client: Client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n").await;
    assert_eq!(soon("an answer", client.response()).await.text(), "ok");
    let again = &good.requests()[0];
    let (_, body) = again.split_once("\r\n\r\n").unwrap();
    let text: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(text, "hello", "{again}");
}

#[tokio::test]
async fn a_slow_reader_is_not_given_up_when_there_can_be_no_other_try() {
    // It reads so late that its kernel's acknowledgement is a delayed one, or none of a read.
    let upstream = Upstream::serve(|mut upstream| async move {
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            if upstream.try_request().await.is_none() {
                return;
            }
            upstream.write(OK).await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).route("retry.attempts = 0").start().await;
    for number in 1..=2 {
        assert_eq!(post(&proxy, b"hi").await.text(), "ok", "request {number}");
        proxy.logged("end", number).await;
        // As long as makes a connection one that may be stale.
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    assert_eq!(upstream.connections(), 1);
}
