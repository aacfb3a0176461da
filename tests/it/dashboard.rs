use std::time::Duration;

use crate::harness::{Client, Conversation, Peer, Proxy, ProxyBuilder, Upstream, soon, until};

/// Whose key it is.
const PRINCIPAL: &str = "ada";

/// The hash of the key `k-1`.
const K_1: &str = "7c35c5a1785d20704e44d5de4beb81c1fce91b6fe48ed7c3159af6f7f832078b";

/// An event each 100 ms, without end.
async fn ticking() -> Upstream {
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

fn known(upstream: &Upstream) -> ProxyBuilder {
    let keys = format!(
        "auth = {{ type = \"api_key\", keys = [{{ name = \"{PRINCIPAL}\", sha256 = \"{K_1}\" }}] }}"
    );
    Proxy::to(upstream.address).route(&keys)
}

/// A stream that is open and flows.
async fn open(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k-1\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(client.text().await.contains("tick"));
    client
}

fn longwire(arguments: &[&str]) -> tokio::process::Command {
    Peer::program(&[&[env!("CARGO_BIN_EXE_longwire")], arguments].concat())
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

#[tokio::test]
async fn top_prints_a_table_once() {
    let upstream = ticking().await;
    let proxy = known(&upstream).start().await;
    let _client = open(&proxy).await;
    let admin = proxy.admin.to_string();
    let top = |filter: &'static str| {
        let arguments = ["top", "--once", "--admin", &admin, "--filter", filter];
        let output = longwire(&arguments).output();
        async move { soon("top", output).await.unwrap() }
    };
    let printed = top("state:streaming").await;
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && text.contains("1 open  1 sse"), "{text}");
    let row = text.lines().nth(6).unwrap_or_else(|| panic!("there is no row in\n{text}"));
    for part in ["streaming", "all", "sse", "up›", PRINCIPAL] {
        assert!(row.contains(part), "{part:?} is not in {row}");
    }
    let filtered = String::from_utf8(top("-streaming").await.stdout).unwrap();
    assert_eq!(filtered.lines().count(), 6, "only the heads: {filtered}");
}

#[tokio::test]
async fn top_says_what_it_lacks() {
    let upstream = ticking().await;
    let proxy = Proxy::to(upstream.address).admin("token = \"s3cret\"").start().await;
    let admin = proxy.admin.to_string();
    let arguments = ["top", "--once", "--admin", &admin];
    let refused = soon("top", longwire(&arguments).output()).await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("LONGWIRE_ADMIN_TOKEN"), "{said}");
    let with_token = longwire(&arguments).env("LONGWIRE_ADMIN_TOKEN", "s3cret").output();
    assert!(soon("top", with_token).await.unwrap().status.success());
    let in_a_pipe = longwire(&arguments[..1]).args(&arguments[2..]).output();
    let said = String::from_utf8(soon("top", in_a_pipe).await.unwrap().stderr).unwrap();
    assert!(said.contains("--once"), "{said}");
}

/// `script` (of util-linux) gives it a terminal, and what it writes.
#[tokio::test]
async fn top_gives_the_terminal_back() {
    let upstream = ticking().await;
    let proxy = Proxy::to(upstream.address).start().await;
    let command = format!("{} top --admin {}", env!("CARGO_BIN_EXE_longwire"), proxy.admin);
    let typescript = tempfile::NamedTempFile::new().unwrap();
    let file = typescript.path().to_str().unwrap();
    let written = || std::fs::read_to_string(file).unwrap();
    let mut child = Peer::program(&["script", "-qefc", &command, file])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("it is drawn", || async { written().contains("no stream is open") }).await;
    assert!(!written().contains("\x1b[?1049l"), "it has left the screen too early");
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"q").await.unwrap();
    assert!(soon("its end", child.wait()).await.unwrap().success());
    let end = written();
    assert!(end.contains("\x1b[?1049l") && end.contains("\x1b[?25h"), "{end:?}");
}
