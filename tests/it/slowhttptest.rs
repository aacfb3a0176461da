use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use longwire::clock;
use tokio::io::AsyncWriteExt;

use crate::harness::{Conversation, Peer, Proxy, SSE_HEAD, Upstream};

const LISTENER: &str = "header_timeout = \"2s\"\nkeepalive_timeout = \"2s\"";
const ROUTE: &str = "stream = { slow_client = \"disconnect\", slow_client_timeout = \"2s\" }";

/// More than the kernel takes for a client that does not read (the last of `tcp_wmem`).
const ANSWER_BYTES: usize = 6 * 1024 * 1024;

/// Made once: the pace is measured beside it.
static ANSWER: OnceLock<Vec<u8>> = OnceLock::new();

/// An event every 20 ms for those who ask for them, a long answer for the others.
async fn serve(mut upstream: Conversation) {
    while let Some(request) = upstream.try_request().await {
        if request.contains("/pace ") {
            upstream.write(SSE_HEAD).await;
            while upstream.stream.write_all(b"9\r\ndata: x\n\n\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        }
        let answer = ANSWER.get_or_init(|| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES}\r\n\r\n");
            [head.as_bytes(), &[b'x'; ANSWER_BYTES]].concat()
        });
        if upstream.stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Attacks with 200 connections in one of its modes, while a well-behaved stream keeps its pace.
///
/// Gives the proxy, and what the attacker says at the end.
async fn attack(mode: &str, more: &[&str]) -> (Proxy, String) {
    let upstream = Upstream::serve(serve).await;
    let proxy = Proxy::to(upstream.address).listener(LISTENER).route(ROUTE).start().await;
    let mut paced = proxy.client().await;
    paced.get("/pace").await;
    paced.head().await;
    let url = proxy.url();
    let base = ["slowhttptest", mode, "-c", "200", "-r", "200", "-l", "20", "-p", "2", "-u", &url];
    let mut attack = Peer::program(&[&base[..], more].concat());
    let attack = attack.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let attack = attack.wait_with_output();
    tokio::pin!(attack);
    let (mut longest, mut last) = (Duration::ZERO, clock::now());
    let output = loop {
        tokio::select! {
            output = &mut attack => break output.unwrap(),
            event = paced.text() => {
                assert_eq!(event, "data: x\n\n");
                let now = clock::now();
                longest = longest.max(now - last);
                last = now;
            }
        }
    };
    assert!(longest < Duration::from_secs(1), "{mode}: the longest gap was {longest:?}");
    proxy.metric_becomes(&["connections_active{", "http/1.1"], 1.0).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (proxy, said)
}

/// All were closed before the attack was over by itself.
const ALL_CLOSED: &str = "No open connections left";

#[tokio::test]
async fn slow_heads_harm_nobody() {
    let (_, said) = attack("-H", &["-i", "1"]).await;
    assert!(said.contains(ALL_CLOSED), "{said}");
}

#[tokio::test]
async fn slow_bodies_harm_nobody() {
    let (_, said) = attack("-B", &["-i", "1", "-s", "8192"]).await;
    assert!(said.contains(ALL_CLOSED), "{said}");
}

#[tokio::test]
async fn slow_readers_harm_nobody() {
    let (proxy, _) = attack("-X", &["-n", "1", "-w", "512", "-y", "1024", "-z", "32"]).await;
    // The attacker does not look; whoever left by himself would be `client_closed`.
    let ends = proxy.log("end");
    let slow = ends.iter().filter(|end| end["reason"] == "slow_client").count();
    assert!(slow >= 200, "{slow} of {}", ends.len());
}
