use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longwire::clock;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::harness::{Client, Peer, Proxy, soon, until};

/// A running `longwire demo`.
struct Demo {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    model: SocketAddr,
    output: Arc<Mutex<Vec<String>>>,
    reading: JoinHandle<()>,
}

fn longwire(arguments: &[&str]) -> Command {
    Peer::program(&[&[env!("CARGO_BIN_EXE_longwire")], arguments].concat())
}

impl Demo {
    async fn start() -> Self {
        let mut complaint = String::new();
        // A free port may be taken by somebody else before the demo binds it.
        for _ in 0..5 {
            match Self::try_start().await {
                Ok(demo) => return demo,
                Err(text) => complaint = text,
            }
            if !complaint.contains("cannot listen on") {
                break;
            }
        }
        panic!("the demo did not start:\n{complaint}");
    }

    async fn try_start() -> Result<Self, String> {
        let [listen, admin, model] = free_addresses();
        let [l, a, m] = [listen, admin, model].map(|address| address.to_string());
        let mut child = longwire(&["demo", "--listen", &l, "--admin", &a, "--model", &m])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&output);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                lines.lock().unwrap().push(line);
            }
        });
        let demo = Self { child, listen, admin, model, output, reading };
        let complaint = tokio::spawn(async move {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        until("the demo listens", || async {
            demo.said(&format!("admin address={admin}")) || complaint.is_finished()
        })
        .await;
        if complaint.is_finished() { Err(complaint.await.unwrap()) } else { Ok(demo) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    fn said(&self, text: &str) -> bool {
        self.output.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// The value of the one sample whose name and labels contain all of `parts`.
    async fn metric(&self, parts: &[&str]) -> f64 {
        let mut client = Client::connect(self.admin).await;
        client.get("/metrics").await;
        let response = client.response().await;
        let is_one = |line: &&str| !line.starts_with('#') && parts.iter().all(|p| line.contains(p));
        let found: Vec<_> = response.text().lines().filter(is_one).collect();
        assert_eq!(found.len(), 1, "samples with {parts:?}: {found:?}");
        found[0].rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Presses Ctrl-C.
    fn interrupt(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let kill = std::process::Command::new("kill").args(["-INT", &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Its exit code, and all that it wrote.
    async fn ended(&mut self) -> (Option<i32>, String) {
        let status = soon("the demo's exit", self.child.wait()).await.unwrap();
        soon("its last words", &mut self.reading).await.unwrap();
        (status.code(), self.output.lock().unwrap().join("\n"))
    }
}

fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    // All are held until the last is known, so that they differ.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

#[tokio::test]
async fn its_configuration_can_be_copied() {
    let printed = soon("demo --print-config", longwire(&["demo", "--print-config"]).output()).await;
    let printed = printed.unwrap();
    assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), &printed.stdout).unwrap();
    let checked = longwire(&["check", "-c", file.path().to_str().unwrap()]).output();
    let checked = soon("check", checked).await.unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains(": ok: 1 listener, 4 routes, 4 upstreams"), "{said}");
}

#[tokio::test]
async fn the_page_and_the_metrics_come_through_the_proxy() {
    let demo = Demo::start().await;
    assert!(demo.said(&format!("chat page   {}", demo.url("/"))), "{:?}", demo.output);
    let mut client = Client::connect(demo.listen).await;
    client.get("/").await;
    let page = client.response().await;
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.field("x-request-id").is_some(), "through the proxy: {}", page.head);
    assert!(page.complete && page.text() == include_str!("../../src/demo/chat.html"));
    client.get("/metrics").await;
    let metrics = client.response().await;
    assert!(metrics.complete && metrics.text().contains("longwire_streams_active{"));
    client.get("/v1/models").await;
    assert!(client.response().await.text().contains("\"demo\""));
}

#[tokio::test]
async fn the_sdks_of_openai_read_it() {
    let demo = Demo::start().await;
    let url = demo.url("/v1");
    let options = [&*url, "--think-ms", "3500", "--expect-heartbeats"];
    let mut comments = 0.0;
    for measured in chat(&options).await {
        assert_eq!(measured["pieces"], 20, "{measured}");
        comments += measured["comments"].as_f64().unwrap();
    }
    let sent = ["longwire_heartbeats_sent_total", "route=\"chat\"", "kind=\"sse\""];
    assert_eq!(demo.metric(&sent).await, comments, "each heartbeat is on the wire");
    assert!(comments >= 4.0, "{comments} heartbeats in twice 3.5 s of silence");
}

#[tokio::test]
async fn the_sdks_of_openai_read_heartbeats_between_events() {
    let demo = Demo::start().await;
    let proxy = Proxy::to(demo.model).route("sse.heartbeat = \"100ms\"").start().await;
    let url = format!("{}/v1", proxy.url());
    let options =
        [&*url, "--think-ms", "300", "--tokens", "12", "--rate", "4", "--expect-heartbeats"];
    for measured in chat(&options).await {
        assert_eq!(measured["pieces"], 12, "{measured}");
        let comments = measured["comments"].as_u64().unwrap();
        assert!(comments >= 12, "more than one for each gap, but {measured}");
    }
}

/// Both SDKs stream a chat; they say what they measured.
async fn chat(options: &[&str]) -> [Value; 2] {
    let python = [&["python", "openai-stream/chat.py"], options].concat();
    let node = [&["node", "openai-stream/chat.mjs"], options].concat();
    tokio::join!(Peer::run(&python), Peer::run(&node)).into()
}

#[tokio::test]
async fn a_browser_sees_what_the_page_promises() {
    let demo = Demo::start().await;
    let seen = Peer::run(&["node", "demo-page/browser.mjs", &demo.url("/")]).await;
    assert!(seen["asked"]["heartbeats"].as_u64() >= Some(1), "{seen}");
    let closed = ["longwire_streams_closed_total", "route=\"chat\"", "kind=\"sse\""];
    for reason in ["completed", "upstream_reset", "client_closed"] {
        let reason = format!("reason=\"{reason}\"");
        assert_eq!(demo.metric(&[&closed[..], &[&reason]].concat()).await, 1.0, "{reason}");
    }
    let cancelled = ["longwire_cancelled_upstream_total", "route=\"chat\""];
    assert_eq!(demo.metric(&cancelled).await, 1.0);
}

#[tokio::test]
async fn browsers_meet_in_the_chat_room() {
    let mut demo = Demo::start().await;
    let pid = demo.child.id().expect("it runs").to_string();
    let url = demo.url("/");
    let seen = Peer::run(&["node", "demo-page/room.mjs", &url, "--interrupt", &pid]).await;
    assert!(seen["pings"].as_u64() > Some(1), "{seen}");
    let (code, output) = demo.ended().await;
    assert_eq!(code, Some(0), "{output}");
    let ended = |line: &&str| line.contains(" end  room ");
    let ended: Vec<_> = output.lines().filter(ended).collect();
    assert_eq!(ended.len(), 2, "{output}");
    assert!(ended[0].contains("close_code=1000 closed_by=client"), "{}", ended[0]);
    assert!(ended[1].contains("close_code=1001 closed_by=proxy"), "{}", ended[1]);
}

#[tokio::test]
async fn ctrl_c_ends_it() {
    let mut demo = Demo::start().await;
    demo.interrupt();
    let (code, output) = demo.ended().await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("stopped"), "{output}");
    assert!(!output.contains("ERROR"), "an end that was wanted is no error: {output}");
}

#[tokio::test]
async fn ctrl_c_ends_it_within_the_grace_while_a_stream_is_open() {
    let mut demo = Demo::start().await;
    let mut client = Client::connect(demo.listen).await;
    let body = r#"{"stream":true,"longwire_demo":{"tokens":9,"rate":100,"stall_after":3}}"#;
    client.post("/v1/chat/completions", body.as_bytes()).await;
    let head = client.head().await;
    let began = clock::now();
    demo.interrupt();
    let rest = client.body_of(head, false).await;
    assert!(!rest.complete, "the stream was cut, and does not look finished: {rest:?}");
    let (code, output) = demo.ended().await;
    let took = clock::now().duration_since(began);
    assert_eq!(code, Some(0), "{output}");
    assert!(took >= Duration::from_millis(1900), "the stream had its grace of 2 s, not {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(output.contains(" drained "), "{output}");
}
