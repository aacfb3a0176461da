//! Requests that two servers could read in two ways, each alone and cut into bytes, before two
//! upstreams: one of ours that is stricter than anybody, and Node's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;

use crate::harness::{Client, Conversation, Peer, Proxy, Upstream, until};
use cases::{Case, SMUGGLED, cases};

mod cases;

/// Sent behind every case on the same connection.
const SECOND: &str = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";

const LISTENER: &str = "protocols = [\"http/1.1\"]\nmax_header_size = \"1KiB\"";

/// A request as an upstream understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Understood {
    target: String,
    body: String,
    /// All of it that is not body.
    head: String,
}

/// What an upstream has understood so far; only whole requests.
trait Witness {
    fn requests(&self) -> Vec<Understood>;
}

/// An upstream that panics at anything that is not written as plainly as can be.
struct Strict {
    upstream: Upstream,
    requests: Arc<Mutex<Vec<Understood>>>,
}

impl Strict {
    async fn start() -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&requests);
        let upstream = Upstream::serve(move |upstream| strict(upstream, Arc::clone(&sink))).await;
        Self { upstream, requests }
    }
}

impl Witness for Strict {
    fn requests(&self) -> Vec<Understood> {
        self.requests.lock().unwrap().clone()
    }
}

async fn strict(mut upstream: Conversation, sink: Arc<Mutex<Vec<Understood>>>) {
    while let Some(head) = upstream.try_head().await {
        let plain = |c: char| !c.is_control();
        let mut lines = head.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let start: Vec<_> = lines.next().unwrap().split(' ').collect();
        let &[method, target, "HTTP/1.1"] = &start[..] else { panic!("{head:?}") };
        assert!(method.bytes().all(|byte| byte.is_ascii_uppercase()), "{head:?}");
        assert!(target.chars().all(plain) && !target.is_empty(), "{head:?}");
        let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{head:?}"));
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(!name.is_empty() && name.bytes().all(token), "{head:?}");
            assert!(value.chars().all(plain) && value.trim() == value, "{head:?}");
            match name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "content-length" => lengths.push(value.parse::<usize>().unwrap()),
                "transfer-encoding" => codings.push(value),
                _ => {}
            }
        }
        assert_eq!(hosts, 1, "{head:?}");
        let body = match (&lengths[..], &codings[..]) {
            ([], []) => Vec::new(),
            (&[length], []) => {
                let body = upstream.bytes(length).await;
                if body.len() < length {
                    return;
                }
                body
            }
            ([], ["chunked"]) => {
                let mut body = Vec::new();
                loop {
                    match upstream.data().await {
                        None => return,
                        Some(chunk) if chunk.is_empty() => break body,
                        Some(chunk) => body.extend(chunk),
                    }
                }
            }
            _ => panic!("{head:?}"),
        };
        let (target, body) = (target.to_owned(), String::from_utf8(body).unwrap());
        sink.lock().unwrap().push(Understood { target, body, head });
        upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    }
}

impl Witness for Peer {
    fn requests(&self) -> Vec<Understood> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let understood = |event: serde_json::Value| {
            assert_eq!(event["trailers"], serde_json::json!([]), "{event}");
            let (target, body) = (text(&event["target"]), text(&event["body"]));
            let fields = event["fields"].as_array().unwrap().iter();
            let lines = fields.map(|field| format!("{}: {}\r\n", text(&field[0]), text(&field[1])));
            let head =
                format!("{} {target}\r\n{}", text(&event["method"]), lines.collect::<String>());
            Understood { target, body, head }
        };
        self.events("request").into_iter().map(understood).collect()
    }
}

/// Sends it, in one piece or byte by byte, as far as the proxy listens.
async fn send(client: &mut Client, bytes: &[u8], bytewise: bool) {
    if !bytewise {
        // What is refused in the middle may be answered and closed before all has gone out.
        let _ = client.stream.write_all(bytes).await;
        return;
    }
    for byte in bytes {
        if client.stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// What is wrong with how a case is handled, if anything is. Until now `before` requests should
/// have been understood.
async fn run(
    case: &Case,
    proxy: &Proxy,
    (witness, before): (&impl Witness, usize),
    bytewise: bool,
) -> Option<String> {
    let mut client = proxy.client().await;
    let bytes = [&case.bytes, SECOND.as_bytes()].concat();
    send(&mut client, &bytes, bytewise).await;
    let response = client.response().await;
    if response.status != case.status {
        let (status, text) = (response.status, String::from_utf8_lossy(&response.body));
        return Some(format!("expected {}, found {status} {}", case.status, text.trim()));
    }
    if case.status != 200 {
        assert_eq!(response.error().1, u64::from(case.status));
        let closes = response.field("connection") == Some("close");
        let ended = matches!(client.read().await, Ok(bytes) if bytes.is_empty());
        let reached = witness.requests().len() - before;
        let as_expected = closes && ended && reached == 0;
        return (!as_expected)
            .then(|| format!("closes: {closes}, ends: {ended}, requests upstream: {reached}"));
    }
    let second = client.response().await;
    if second.status == 200 {
        // It may say a little later what it has understood.
        let both = || async { witness.requests().len() >= before + 2 };
        until("both requests are understood", both).await;
    }
    let requests = witness.requests().split_off(before);
    let [first, next] = &requests[..] else {
        return Some(format!("two requests became {requests:?}"));
    };
    let seen = (first.target.as_str(), first.body.as_str());
    // What we make at random may hold anything.
    let is_random =
        |line: &&str| line.starts_with("X-Request-Id:") || line.starts_with("traceparent:");
    let told: Vec<_> = first.head.lines().filter(|line| !is_random(line)).collect();
    let leaked = case.gone.iter().find(|gone| told.iter().any(|line| line.contains(**gone)));
    match (second.status, next.target.as_str(), leaked) {
        (200, "/second", None) if seen == case.seen => None,
        _ => Some(format!("second: {}, leaked: {leaked:?}, {requests:?}", second.status)),
    }
}

async fn run_all(proxy: &Proxy, witness: &impl Witness, bytewise: bool) {
    let (mut wrong, mut passed) = (Vec::new(), 0);
    for case in cases() {
        let found = run(&case, proxy, (witness, 2 * passed), bytewise).await;
        wrong.extend(found.map(|found| format!("{}: {}: {found}", case.class, case.what)));
        passed += usize::from(case.status == 200);
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Whatever came late, too, came before this one.
    let mut client = proxy.client().await;
    client.get("/last").await;
    assert_eq!(client.response().await.status, 200);
    let last = || async { witness.requests().last().is_some_and(|last| last.target == "/last") };
    until("the last request is understood", last).await;
    let requests = witness.requests();
    assert_eq!(requests.len(), 2 * passed + 1, "{requests:#?}");
    assert!(requests.iter().all(|request| request.target != "/smuggled"));
    let seconds = requests.iter().filter(|request| request.target == "/second").count();
    assert_eq!(seconds, passed, "nothing behind a refused request is ever looked at");
}

#[tokio::test]
async fn one_request_never_becomes_two_for_a_strict_upstream() {
    let strict = Strict::start().await;
    let proxy = Proxy::to(strict.upstream.address).listener(LISTENER).start().await;
    run_all(&proxy, &strict, false).await;
}

#[tokio::test]
async fn nor_when_it_comes_byte_by_byte() {
    let strict = Strict::start().await;
    let proxy = Proxy::to(strict.upstream.address).listener(LISTENER).start().await;
    run_all(&proxy, &strict, true).await;
}

#[tokio::test]
async fn nor_for_node() {
    let node = Peer::serve(&["node", "strict-upstream/server.mjs"]).await;
    let proxy = Proxy::to(node.address).listener(LISTENER).start().await;
    run_all(&proxy, &node, false).await;
    assert_eq!(node.events("bad"), Vec::<serde_json::Value>::new(), "all that it got was HTTP");
}

#[tokio::test]
async fn nor_for_node_when_it_comes_byte_by_byte() {
    let node = Peer::serve(&["node", "strict-upstream/server.mjs"]).await;
    let proxy = Proxy::to(node.address).listener(LISTENER).start().await;
    run_all(&proxy, &node, true).await;
    assert_eq!(node.events("bad"), Vec::<serde_json::Value>::new(), "all that it got was HTTP");
}

#[test]
fn the_document_names_every_class_and_no_other() {
    let document = include_str!("../../docs/requests.md");
    let rows = document.lines().filter(|line| line.starts_with("| **"));
    let documented: BTreeSet<_> = rows.map(|row| row.split("**").nth(1).unwrap()).collect();
    let cases = cases();
    let tested: BTreeSet<_> = cases.iter().map(|case| case.class).collect();
    assert_eq!(documented, tested);
    let refused = cases.iter().filter(|case| case.status != 200).count();
    assert!(refused >= 120, "{refused}");
    assert!(cases.iter().any(|case| case.seen.1 == SMUGGLED), "a hidden request arrives as a body");
}
