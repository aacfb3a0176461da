use crate::dashboard::{PRINCIPAL, known, open, ticking};
use crate::harness::{Peer, Proxy, soon};

fn longwire(arguments: &[&str]) -> tokio::process::Command {
    Peer::program(&[&[env!("CARGO_BIN_EXE_longwire")], arguments].concat())
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

/// What `terminal/terminal.py` saw of `longwire top` in a terminal.
async fn in_a_terminal(what: &[&str]) -> serde_json::Value {
    let upstream = ticking().await;
    let proxy = known(&upstream).start().await;
    let _client = open(&proxy).await;
    let admin = proxy.admin.to_string();
    let program = ["python3", "terminal/terminal.py"];
    let top = ["--", env!("CARGO_BIN_EXE_longwire"), "top", "--admin", &admin];
    Peer::run(&[&program[..], what, &top].concat()).await
}

#[tokio::test]
async fn a_key_ends_it_and_the_terminal_is_as_it_was() {
    let seen = in_a_terminal(&["quit"]).await;
    assert_eq!(seen["status"], 0, "{seen}");
    assert_eq!(seen["left"], true, "the screen is left, the cursor is shown: {seen}");
    assert_eq!(seen["modes"], true, "what is typed is shown again: {seen}");
}

#[tokio::test]
async fn it_fills_a_terminal_that_grows() {
    let seen = in_a_terminal(&["resize"]).await;
    assert_eq!(seen["before"], false, "80 columns have no room for the id: {seen}");
    assert_eq!(seen["after"], true, "180 have: {seen}");
    assert_eq!(seen["status"], 0, "{seen}");
}

/// One that it controls, whose end is told by a signal, and one that it does not.
#[tokio::test]
async fn it_ends_with_its_terminal() {
    for close in ["close", "close-another's"] {
        let seen = in_a_terminal(&[close]).await;
        assert!(seen["ended_ms"].as_f64().unwrap() < 2000.0, "{close}: {seen}");
        assert!(seen["cpu_ms"].as_f64().unwrap() < 1000.0, "{close}, it spins: {seen}");
    }
}
