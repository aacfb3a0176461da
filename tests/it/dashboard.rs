use std::time::Duration;

use longwire::live::feed::WATCHED_MAX;

use crate::harness::{Client, Conversation, Peer, Proxy, ProxyBuilder, Upstream, soon};
use crate::live::listens;

/// Whose key it is.
pub const PRINCIPAL: &str = "ada";

/// The hash of the key `k-1`.
const K_1: &str = "7c35c5a1785d20704e44d5de4beb81c1fce91b6fe48ed7c3159af6f7f832078b";

/// An event each 100 ms, without end.
pub async fn ticking() -> Upstream {
    Upstream::sse(|mut peer: Conversation| async move {
        loop {
            let tick = tokio::time::sleep(Duration::from_millis(100));
            tokio::select! {
                biased;
                () = peer.closed() => return,
                () = tick => {}
            }
            peer.chunk("data: tick\n\n").await;
        }
    })
    .await
}

/// The line of a route that knows [`PRINCIPAL`] by the key `k-1`.
pub fn auth() -> String {
    format!(
        "auth = {{ type = \"api_key\", keys = [{{ name = \"{PRINCIPAL}\", sha256 = \"{K_1}\" }}] }}"
    )
}

pub fn known(upstream: &Upstream) -> ProxyBuilder {
    Proxy::to(upstream.address).route(&auth())
}

/// A stream that is open and flows.
pub async fn open(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k-1\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(client.text().await.contains("tick"));
    client
}

#[tokio::test]
async fn a_person_watches_a_stream_and_kills_it() {
    let upstream = ticking().await;
    let proxy = known(&upstream).start().await;
    watch_and_kill(&proxy, &[]).await;
}

#[tokio::test]
async fn the_page_asks_for_the_token() {
    let upstream = ticking().await;
    let proxy = known(&upstream).admin("token = \"s3cret\"").start().await;
    watch_and_kill(&proxy, &["--token", "s3cret"]).await;
}

async fn watch_and_kill(proxy: &Proxy, options: &[&str]) {
    let mut client = open(proxy).await;
    let url = format!("http://{}/", proxy.admin);
    let watch = ["node", "dashboard/browser.mjs", &url, "--principal", PRINCIPAL];
    let seen = Peer::run(&[&watch, options].concat()).await;
    assert_eq!(seen["reason"], "killed", "{seen}");
    // What is read from here on is what came before the kill, and then the end.
    let ends = async { while client.read().await.is_ok_and(|bytes| !bytes.is_empty()) {} };
    soon("the client's end", ends).await;
    assert_eq!(proxy.reason().await, "killed");
}

#[tokio::test]
async fn without_it_there_is_no_page() {
    let upstream = ticking().await;
    for (keys, expected) in [("", 200), ("dashboard = false", 404)] {
        let proxy = Proxy::to(upstream.address).admin(keys).start().await;
        for path in ["/", "/dashboard"] {
            assert_eq!(proxy.admin(path).await.0, expected, "{keys} {path}");
        }
    }
}

/// A second endpoint has all that is there for hands, and none of the streams.
#[tokio::test]
async fn a_person_uses_keys_buttons_and_a_phone() {
    let upstream = ticking().await;
    let address = upstream.address;
    let endpoint = |name| format!("{{ url = \"http://{address}\", name = \"{name}\" }}");
    let endpoints = [endpoint("a"), endpoint("b")].join(", ");
    let proxy = Proxy::to_endpoints(&endpoints).route(&auth()).start().await;
    let _client = open(&proxy).await;
    let url = format!("http://{}/", proxy.admin);
    let config = proxy.config().to_str().unwrap();
    let program = ["node", "dashboard/hands.mjs", &url, "--principal", PRINCIPAL];
    let seen = Peer::run(&[&program[..], &["--config", config]].concat()).await;
    assert!(seen["widest"].as_u64().unwrap() <= 390, "{seen}");
}

#[tokio::test]
async fn the_page_says_so_while_the_proxy_is_away() {
    let program = ["node", "dashboard/away.mjs", "--longwire", env!("CARGO_BIN_EXE_longwire")];
    let seen = Peer::run(&program).await;
    // It tries again after ten seconds at most, and a quarter more.
    assert!(seen["back_ms"].as_u64().unwrap() < 13_000, "{seen}");
}

/// Contrast, names and roles, as axe-core judges them.
#[tokio::test]
async fn everybody_can_read_it() {
    let upstream = ticking().await;
    // Nobody listens there.
    let tables = "[upstreams.down]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                  health.active = { path = \"/\", unhealthy_after = 1 }\n\
                  [routes.down]\npaths = [\"/down\"]\nupstream = \"down\"\n";
    let proxy = known(&upstream).tables(tables).start().await;
    let _client = open(&proxy).await;
    let mut failing = proxy.client().await;
    failing.get("/down").await;
    assert!(failing.head().await.starts_with("HTTP/1.1 50"));
    let url = format!("http://{}/", proxy.admin);
    let program = ["node", "dashboard/axe.mjs", &url, "--principal", PRINCIPAL];
    let seen = Peer::run(&[&program[..], &["--deadline-ms", "55000"]].concat()).await;
    assert_eq!(seen["views"], 18, "{seen}");
    assert!(seen["passed"].as_u64().unwrap() > 18 * 15, "rules did look at it: {seen}");
}

#[tokio::test]
async fn a_filter_finds_what_the_page_was_not_told_of() {
    let upstream = Upstream::sse(|mut upstream: Conversation| async move {
        upstream.chunk("data: a\n\n").await;
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut clients = Vec::new();
    for number in 0..WATCHED_MAX + 20 {
        clients.push(listens(&proxy, "/", &format!("hay-{number}")).await);
    }
    clients.push(listens(&proxy, "/", "needle").await);
    let url = format!("http://{}/", proxy.admin);
    let seen = Peer::run(&["node", "dashboard/beyond.mjs", &url, "--id", "needle"]).await;
    assert_eq!((&seen["open"], &seen["listed"]), (&clients.len().into(), &WATCHED_MAX.into()));
    assert_eq!(proxy.reason().await, "killed");
}
