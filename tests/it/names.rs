//! Names whose addresses change: the proxy looks them up in a hosts file of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::harness::{Client, Proxy, ProxyBuilder, Upstream, until};

/// What the machine says about the name `model.test`, as one proxy sees it.
struct Hosts {
    folder: tempfile::TempDir,
}

/// Puts the files $1 and $2 over those of the machine, for itself and what it becomes.
const OVERLAY: &str = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && \
                       shift 2 && exec \"$@\"";

impl Hosts {
    fn with(addresses: &[&str]) -> Self {
        let hosts = Self { folder: tempfile::tempdir().unwrap() };
        // Nobody answers there: a name that is not in the file is not asked for anywhere else.
        let nobody = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        std::fs::write(hosts.folder.path().join("resolv.conf"), nobody).unwrap();
        hosts.say(addresses);
        hosts
    }

    /// From now on these are the addresses. The same file is written, since it is mounted.
    fn say(&self, addresses: &[&str]) {
        let lines: String = addresses.iter().map(|ip| format!("{ip} model.test\n")).collect();
        std::fs::write(self.folder.path().join("hosts"), lines).unwrap();
    }

    /// A proxy to the name, which it looks up often.
    fn proxy(&self, port: u16) -> ProxyBuilder {
        let file = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let (hosts, resolv) = (file("hosts"), file("resolv.conf"));
        let unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", OVERLAY, "sh"];
        let endpoint = format!("{{ url = \"http://model.test:{port}\", resolve = \"200ms\" }}");
        Proxy::to_endpoints(&endpoint).within(&[&unshare[..], &[&hosts, &resolv]].concat())
    }
}

/// Streams that end with the word; `name` is their first chunk.
struct Model {
    upstream: Upstream,
    word: Arc<Notify>,
}

impl Model {
    async fn at(address: SocketAddr, name: &'static str) -> Self {
        let word = Arc::new(Notify::new());
        let given = Arc::clone(&word);
        let upstream = Upstream::serve_at(address, move |mut upstream| {
            let given = Arc::clone(&given);
            async move { upstream.streams_until(&given, name).await }
        })
        .await;
        Self { upstream, word }
    }

    /// Two at one port, on two addresses.
    async fn two() -> (Self, Self, u16) {
        let one = Self::at("127.0.0.1:0".parse().unwrap(), "one").await;
        let port = one.upstream.address.port();
        let two = Self::at(SocketAddr::from(([127, 0, 0, 2], port)), "two").await;
        (one, two, port)
    }
}

/// A stream: its client, and which model it is from.
async fn stream(proxy: &Proxy) -> (Client, String) {
    let mut client = proxy.client().await;
    client.get("/").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let from = client.text().await;
    (client, from)
}

#[tokio::test]
async fn new_requests_follow_the_name_and_old_streams_stay_where_they_are() {
    let (one, two, port) = Model::two().await;
    let hosts = Hosts::with(&["127.0.0.1"]);
    let proxy = hosts.proxy(port).start().await;
    let mut old = Vec::new();
    for _ in 0..5 {
        let (client, from) = stream(&proxy).await;
        assert_eq!(from, "one");
        old.push(client);
    }
    hosts.say(&["127.0.0.2"]);
    until("new requests go to the new address", || async { stream(&proxy).await.1 == "two" }).await;
    for _ in 0..5 {
        assert_eq!(stream(&proxy).await.1, "two", "and all of them do");
    }
    assert_eq!(one.upstream.open(), 5, "the old streams were not touched");
    one.word.notify_waiters();
    for client in &mut old {
        assert_eq!(client.text().await, "", "the last chunk, from where it began");
    }
    until("nothing is kept to the old address", || async { one.upstream.open() == 0 }).await;
    drop(two);
}

#[tokio::test]
async fn two_addresses_of_a_name_are_two_endpoints() {
    let (one, two, port) = Model::two().await;
    let hosts = Hosts::with(&["127.0.0.1", "127.0.0.2"]);
    let proxy = hosts.proxy(port).start().await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(stream(&proxy).await);
    }
    assert_eq!((one.upstream.open(), two.upstream.open()), (5, 5), "by fewest streams");
}

#[tokio::test]
async fn an_address_that_comes_back_is_the_same_endpoint() {
    let (one, _two, port) = Model::two().await;
    let hosts = Hosts::with(&["127.0.0.1"]);
    let proxy = hosts.proxy(port).start().await;
    let (mut old, _) = stream(&proxy).await;
    for (address, name) in [("127.0.0.2", "two"), ("127.0.0.1", "one")] {
        hosts.say(&[address]);
        until("the name is followed", || async { stream(&proxy).await.1 == name }).await;
    }
    one.word.notify_waiters();
    assert_eq!(old.text().await, "", "the last chunk");
    until("each place is given back", || async {
        proxy.sum(&["longwire_upstream_endpoint_streams{"]).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn the_last_good_answer_is_kept() {
    let (_one, _two, port) = Model::two().await;
    let hosts = Hosts::with(&["127.0.0.1"]);
    let proxy = hosts.proxy(port).start().await;
    assert_eq!(stream(&proxy).await.1, "one");
    hosts.say(&[]);
    let failed = proxy.logged("name is not resolved", 1).await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    for _ in 0..5 {
        assert_eq!(stream(&proxy).await.1, "one", "the name is gone, the model is not");
    }
    hosts.say(&["127.0.0.2"]);
    until("the name is followed again", || async { stream(&proxy).await.1 == "two" }).await;
    assert_eq!(proxy.log("name is not resolved").len(), 1, "a change is logged once");
}

#[tokio::test]
async fn a_name_that_nobody_knows_yet_is_an_error_until_somebody_does() {
    let (_one, _two, port) = Model::two().await;
    let hosts = Hosts::with(&[]);
    let proxy = hosts.proxy(port).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.error(), ("dns_error".into(), 502));
    hosts.say(&["127.0.0.1"]);
    until("the name is found", || async {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await.starts_with("HTTP/1.1 200 ")
    })
    .await;
}
