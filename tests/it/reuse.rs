use std::os::fd::AsRawFd;
use std::sync::Arc;

use pingora::protocols::l4::ext::get_tcp_info;
use tokio::sync::Notify;

use crate::harness::{Client, Conversation, Proxy, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const IDLE: [&str; 2] = ["longwire_upstream_connections{", "state=\"idle\""];
const ACTIVE: [&str; 2] = ["longwire_upstream_connections{", "state=\"active\""];

/// One request on a connection of its own, whole: the exchange has been logged, so its upstream
/// connection has gone where it goes.
async fn ask(proxy: &Proxy, number: usize) {
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "ok"), "request {number}");
    proxy.logged("end", number).await;
}

async fn closed_for(proxy: &Proxy, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    proxy.metric(&["longwire_upstream_pool_closed_total{", &reason]).await
}

/// Of all reasons for not keeping a connection, only this one was counted.
async fn only_closed_for(proxy: &Proxy, reason: &str, count: f64) {
    assert_eq!(closed_for(proxy, reason).await, count, "connections closed for {reason}");
    let all = proxy.sum(&["longwire_upstream_pool_closed_total{"]).await;
    assert_eq!(all, count, "connections closed for any reason");
}

#[tokio::test]
async fn fifty_requests_on_fifty_connections_need_one_upstream_connection() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    for number in 1..=50 {
        ask(&proxy, number).await;
    }
    assert_eq!(upstream.connections(), 1);
    let on = |kind: &'static str| {
        let proxy = &proxy;
        async move { proxy.metric(&["longwire_upstream_requests_total{", kind]).await }
    };
    assert_eq!((on("\"new\"").await, on("\"reused\"").await), (1.0, 49.0));
    let ends = proxy.log("end");
    assert_eq!(
        (&ends[0]["connection"], &ends[49]["connection"]),
        (&"new".into(), &"reused".into())
    );
    assert_eq!(proxy.metric(&["longwire_connections_accepted_total{"]).await, 50.0);
}

#[tokio::test]
async fn the_upstream_sees_http_1_1_kept_alive_whatever_the_client_speaks() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\n\r\n",
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let mut client = proxy.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.text(), "ok", "{request:?}");
        if request.contains("close") {
            assert!(!client.ends().await, "the client gets the end that it asked for: {request:?}");
        }
        proxy.logged("end", index + 1).await;
    }
    for (request, seen) in requests.into_iter().zip(upstream.requests()) {
        assert!(seen.lines().next().unwrap().ends_with(" / HTTP/1.1"), "{request:?} was {seen:?}");
        assert!(!seen.to_ascii_lowercase().contains("\r\nconnection:"), "{request:?} was {seen:?}");
    }
    assert_eq!(upstream.connections(), 1, "one connection carried them all");
}

#[tokio::test]
async fn a_client_that_reads_until_the_end_of_a_stream_costs_no_upstream_connection() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         9\r\ndata: a\n\n\r\n0\r\n\r\n",
    )
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    for number in 1..=10 {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!((response.text(), response.complete), ("data: a\n\n", true));
        proxy.logged("end", number).await;
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_pool_of_none_keeps_none() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).upstream("pool.max_idle = 0").start().await;
    for number in 1..=5 {
        ask(&proxy, number).await;
    }
    assert_eq!(upstream.connections(), 5, "a new one for each request");
    until("the upstream sees them all closed", || async { upstream.open() == 0 }).await;
    only_closed_for(&proxy, "full", 5.0).await;
    assert_eq!(proxy.sum(&["longwire_upstream_connections{"]).await, 0.0);
}

/// That many streams at once, each on a connection of its own.
async fn streams(proxy: &Proxy, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await;
        clients.push(client);
    }
    clients
}

/// An upstream whose streams end with the word.
async fn ending_together() -> (Upstream, Arc<Notify>) {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream| {
        let given = Arc::clone(&given);
        async move {
            while upstream.try_request().await.is_some() {
                let ends = given.notified();
                tokio::pin!(ends);
                ends.as_mut().enable();
                upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                soon("the word", ends).await;
                upstream.last_chunk().await;
            }
        }
    })
    .await;
    (upstream, word)
}

#[tokio::test]
async fn the_gauges_agree_with_the_upstreams_own_count() {
    let (upstream, word) = ending_together().await;
    let proxy = Proxy::to(upstream.address).start().await;
    for (round, count) in [3, 5, 1].into_iter().enumerate() {
        let clients = streams(&proxy, count).await;
        let open = upstream.open();
        assert_eq!(open, [3, 5, 5][round], "a connection is opened only when none is idle");
        assert_eq!(proxy.metric(&ACTIVE).await, count as f64, "round {round}");
        assert_eq!(proxy.metric(&IDLE).await, (open - count) as f64, "round {round}");
        let at_endpoint = proxy.metric(&["longwire_upstream_endpoint_streams{"]).await;
        assert_eq!(at_endpoint, count as f64, "round {round}");
        word.notify_waiters();
        for mut client in clients {
            assert_eq!(client.text().await, "", "the last chunk");
        }
        proxy.metric_becomes(&ACTIVE, 0.0).await;
        assert_eq!(proxy.metric(&IDLE).await, upstream.open() as f64, "round {round}");
        assert_eq!(proxy.metric(&["longwire_upstream_endpoint_streams{"]).await, 0.0);
    }
    assert_eq!(proxy.sum(&["longwire_upstream_pool_closed_total{"]).await, 0.0);
    assert_eq!(proxy.metric(&["longwire_upstream_connects_total{", "\"ok\""]).await, 5.0);
}

#[tokio::test]
async fn no_more_than_max_idle_are_kept() {
    let (upstream, word) = ending_together().await;
    let proxy = Proxy::to(upstream.address).upstream("pool.max_idle = 2").start().await;
    let clients = streams(&proxy, 5).await;
    word.notify_waiters();
    for mut client in clients {
        assert_eq!(client.text().await, "", "the last chunk");
    }
    proxy.metric_becomes(&ACTIVE, 0.0).await;
    assert_eq!(proxy.metric(&IDLE).await, 2.0);
    until("the upstream sees the others closed", || async { upstream.open() == 2 }).await;
    only_closed_for(&proxy, "full", 3.0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_time_is_over() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).upstream("pool.idle_timeout = \"300ms\"").start().await;
    ask(&proxy, 1).await;
    assert_eq!(upstream.open(), 1, "it is kept at first");
    until("the upstream sees it closed", || async { upstream.open() == 0 }).await;
    proxy.metric_becomes(&IDLE, 0.0).await;
    only_closed_for(&proxy, "idle_timeout", 1.0).await;
    ask(&proxy, 2).await;
    assert_eq!(upstream.connections(), 2, "the next request takes a new one");
}

#[tokio::test]
async fn an_idle_connection_that_the_upstream_closes_is_not_used_again() {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream| {
        let given = Arc::clone(&given);
        async move {
            upstream.request().await;
            upstream.write(OK).await;
            soon("the word to close", given.notified()).await;
            if upstream.number % 2 == 1 {
                upstream.reset();
            }
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    for round in 1..=4 {
        ask(&proxy, round).await;
        assert_eq!(proxy.metric(&IDLE).await, 1.0);
        word.notify_one();
        proxy.metric_becomes(&IDLE, 0.0).await;
        only_closed_for(&proxy, "peer_closed", round as f64).await;
    }
    assert_eq!(upstream.connections(), 4, "each request went well, on a new connection");
}

/// Two requests to an upstream that answers so and would go on; they must use two connections.
async fn is_not_reused(answer: &'static str, what: &str) {
    let upstream = Upstream::answering(answer).await;
    let proxy = Proxy::to(upstream.address).start().await;
    for number in 1..=2 {
        let mut client = proxy.client().await;
        client.get("/").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "ok"), "{what}");
        assert_eq!(response.field("connection"), None, "the client's stays: {what}");
        client.get("/").await;
        assert_eq!(client.response().await.text(), "ok", "{what}: the client goes on");
        proxy.logged("end", 2 * number).await;
    }
    assert_eq!(upstream.connections(), 4, "{what}");
    until("the upstream sees them closed", || async { upstream.open() == 0 }).await;
    only_closed_for(&proxy, "unclean", 4.0).await;
}

#[tokio::test]
async fn a_connection_that_the_upstream_wants_closed_is_not_reused() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nconnection: X, Close\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        is_not_reused(answer, answer).await;
    }
}

#[tokio::test]
async fn stray_bytes_behind_a_response_are_never_the_next_response() {
    for (what, answer) in [
        ("a longer body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n"),
        ("a line end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n"),
        (
            "behind the last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n\r\nHTTP/1.1 500 No\r\n\r\n",
        ),
    ] {
        is_not_reused(answer, what).await;
    }
}

#[tokio::test]
async fn a_body_where_there_must_be_none_is_not_the_next_response() {
    for (request, answer, status) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\nx", 304),
    ] {
        let upstream = Upstream::answering(answer).await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        for round in 1..=2 {
            client.send(format!("{request} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let response = client.response_to_head().await;
            assert_eq!(response.status, status, "{answer:?}");
            proxy.logged("end", round).await;
        }
        assert_eq!(upstream.connections(), 2, "{answer:?}");
        assert!(client.inbox.is_empty(), "nothing of it reached the client: {answer:?}");
    }
}

#[tokio::test]
async fn stray_bytes_on_an_idle_connection_end_it() {
    let word = Arc::new(Notify::new());
    let given = Arc::clone(&word);
    let upstream = Upstream::serve(move |mut upstream| {
        let given = Arc::clone(&given);
        async move {
            upstream.request().await;
            upstream.write(OK).await;
            soon("the word to go astray", given.notified()).await;
            upstream.write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n").await;
            upstream.closed().await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    ask(&proxy, 1).await;
    word.notify_one();
    proxy.metric_becomes(&IDLE, 0.0).await;
    only_closed_for(&proxy, "unclean", 1.0).await;
    ask(&proxy, 2).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_http_1_0_upstream_that_keeps_alive_is_reused() {
    let answer = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::answering(answer).await;
    let proxy = Proxy::to(upstream.address).start().await;
    for number in 1..=3 {
        ask(&proxy, number).await;
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn two_endpoints_at_one_address_have_pools_of_their_own() {
    let upstream = Upstream::answering(OK).await;
    let address = upstream.address;
    let proxy = Proxy::to(address)
        .tables(&format!(
            "[upstreams.two]\nendpoints = [\"http://{address}\"]\n\
             [routes.two]\npaths = [\"/two\"]\nupstream = \"two\""
        ))
        .start()
        .await;
    let mut client = proxy.client().await;
    for (number, path) in ["/", "/two", "/", "/two"].into_iter().enumerate() {
        client.get(path).await;
        assert_eq!(client.response().await.text(), "ok");
        proxy.logged("end", number + 1).await;
    }
    assert_eq!(upstream.connections(), 2);
    for name in ["up", "two"] {
        let label = format!("upstream=\"{name}\"");
        assert_eq!(proxy.metric(&[IDLE[0], IDLE[1], &label]).await, 1.0, "{name}");
    }
}

#[tokio::test]
async fn an_exchange_that_went_wrong_leaves_no_connection_behind() {
    async fn leave(proxy: &Proxy, upstream: &Upstream) {
        until("the upstream sees it closed", || async { upstream.open() == 0 }).await;
        assert_eq!(proxy.sum(&["longwire_upstream_connections{"]).await, 0.0);
    }
    // A client that leaves, in the middle and before the head.
    for answers in [true, false] {
        let upstream = Upstream::serve(move |mut upstream: Conversation| async move {
            upstream.request().await;
            if answers {
                upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
            }
            upstream.hold().await;
        })
        .await;
        let proxy = Proxy::to(upstream.address).start().await;
        let mut client = proxy.client().await;
        client.get("/").await;
        if answers {
            client.head().await;
        } else {
            until("the request has arrived", || async { upstream.requests().len() == 1 }).await;
        }
        drop(client);
        proxy.logged("end", 1).await;
        leave(&proxy, &upstream).await;
        only_closed_for(&proxy, "unclean", 1.0).await;
    }
}

#[tokio::test]
async fn a_body_that_came_with_its_head_goes_on_with_it_in_one_segment() {
    let upstream = Upstream::serve(|mut upstream| async move {
        let mut before = 0;
        for body in ["first", "second"] {
            let request = upstream.request().await;
            assert!(request.ends_with(body), "{request}");
            let segments = get_tcp_info(upstream.stream.as_raw_fd()).unwrap().tcpi_data_segs_in;
            assert_eq!(segments - before, 1, "segments with data, of the {body} request");
            before = segments;
            upstream.write(OK).await;
        }
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut client = proxy.client().await;
    for body in ["first", "second"] {
        client.post("/", body.as_bytes()).await;
        assert_eq!(client.response().await.text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}
