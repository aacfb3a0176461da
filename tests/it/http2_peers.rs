use std::process::Output;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::{Peer, Proxy, ProxyBuilder, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MIB: usize = 1 << 20;
const ANY_SIZE: &str = "limits.max_request_body = \"off\"";

/// For 64 MiB, or 20,000 requests, with a debug build on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs a tool that may take longer than things that happen soon.
async fn run(mut tool: Command) -> Output {
    let output = tokio::time::timeout(LONGEST, tool.output()).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool:?}: {} {said}", output.status);
    output
}

/// A key and a certificate for it, and the lines of a listener that uses them.
async fn secured(proxy: ProxyBuilder) -> (tempfile::TempDir, Proxy) {
    let folder = tempfile::tempdir().unwrap();
    let [key, cert] =
        ["key.pem", "cert.pem"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let new = ["openssl", "req", "-x509", "-subj", "/CN=localhost", "-days", "2", "-nodes"];
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let to = ["-keyout", &key, "-out", &cert];
    run(Peer::program(&[&new[..], &ec, &to].concat())).await;
    let tls = format!("[listeners.web.tls]\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]");
    (folder, proxy.listener(&tls).start().await)
}

/// No client here sent too much of anything.
async fn nobody_was_cut_off(proxy: &Proxy) {
    let refused = proxy.sum(&["longwire_connections_refused_total", "reason=\"flood\""]).await;
    assert_eq!(refused, 0.0);
    assert_eq!(proxy.log("HTTP/2 client cut off").len(), 0);
}

async fn loaded(proxy: &Proxy, url: &str) {
    let h2load = Peer::program(&["h2load", "-n", "20000", "-c", "4", "-m", "100", url]);
    let output = run(h2load).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("requests:")).unwrap();
    println!("{line} ({})", said.lines().find(|line| line.starts_with("finished")).unwrap());
    assert!(line.contains(" 20000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 20000 2xx"), "{said}");
    assert!(said.contains("Application protocol: h2"), "{said}");
    nobody_was_cut_off(proxy).await;
}

#[tokio::test]
async fn h2load_has_nothing_fail() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    loaded(&proxy, &proxy.url()).await;
}

#[tokio::test]
async fn h2load_has_nothing_fail_with_tls() {
    let upstream = Upstream::answering(OK).await;
    let (_folder, proxy) = secured(Proxy::to(upstream.address)).await;
    loaded(&proxy, &format!("https://localhost:{}", proxy.address.port())).await;
}

/// Bytes that are everywhere different, in a file.
fn file(bytes: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let content: Vec<u8> = (0..bytes / 4).flat_map(|at| (at as u32).to_be_bytes()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &content).unwrap();
    (file, content)
}

#[tokio::test]
async fn nghttp_gets_posts_and_uploads() {
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let proxy = Proxy::to(echo.address).route(ANY_SIZE).start().await;
    let url = |path: &str| format!("{}{path}", proxy.url());
    // Several at once, with priorities, as nghttp likes them; and it would take a push.
    let gets = ["nghttp", "-nv", "-m", "20", &url("/status/200"), &url("/headers")];
    let said = String::from_utf8(run(Peer::program(&gets)).await.stdout).unwrap();
    assert_eq!(said.matches(":status: 200").count(), 40, "{said}");
    assert!(!said.contains("PUSH_PROMISE") && !said.contains("RST_STREAM"), "{said}");

    for size in [5000, 16 * MIB] {
        let (upload, content) = file(size);
        let path = upload.path().to_str().unwrap();
        let back = run(Peer::program(&["nghttp", "-d", path, &url("/echo")])).await.stdout;
        assert!(back == content, "{} of {size} bytes came back", back.len());
    }
    nobody_was_cut_off(&proxy).await;
}

#[tokio::test]
async fn curl_uploads_and_downloads_64_mib() {
    let (upload, content) = file(64 * MIB);
    let upload = upload.path().to_str().unwrap();
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let plain = Proxy::to(echo.address).route(ANY_SIZE).start().await;
    let (_folder, secure) = secured(Proxy::to(echo.address).route(ANY_SIZE)).await;
    for (proxy, scheme, how) in
        [(&plain, "http", "--http2-prior-knowledge"), (&secure, "https", "--http2")]
    {
        let url = format!("{scheme}://localhost:{}/echo", proxy.address.port());
        let target = tempfile::NamedTempFile::new().unwrap();
        let into = target.path().to_str().unwrap();
        let curl = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--insecure", how];
        let post = ["-X", "POST", "-T", upload, "-o", into, "-w", "%{http_version} %{http_code}"];
        let mut curl = Peer::program(&[&curl[..], &post, &[&url]].concat());
        let ended = tokio::time::timeout(LONGEST, curl.output()).await.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        let seen = [proxy.log("end"), proxy.log("HTTP/2 client cut off")];
        assert_eq!(said, "2 200", "{how}: {}; {seen:?}", ended.status);
        let back = std::fs::read(target.path()).unwrap();
        assert!(back == content, "{} of {} bytes came back: {how}", back.len(), content.len());
        nobody_was_cut_off(proxy).await;
    }
}

#[tokio::test]
async fn httpx_reads_events_as_they_come() {
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let proxy = Proxy::to(echo.address).route(ANY_SIZE).start().await;
    let measured = Peer::run(&["python", "http2-clients/httpx-sse.py", &proxy.url()]).await;
    assert_eq!((&measured["version"], &measured["events"]), (&json!("HTTP/2"), &json!(20)));
    assert!(measured["moments"].as_u64() > Some(15), "{measured}");
    assert_eq!(proxy.reason().await, "completed");
    nobody_was_cut_off(&proxy).await;
}

#[tokio::test]
async fn node_cancels_a_hundred_streams_and_goes_on() {
    let echo = Peer::serve(&["python", "echo.py"]).await;
    let proxy = Proxy::to(echo.address).route(ANY_SIZE).start().await;
    let measured = Peer::run(&["node", "http2-clients/cancel.mjs", &proxy.url(), "100"]).await;
    assert_eq!(measured, json!({ "cancelled": 100, "answers": 100 }));
    let ends = proxy.logged("end", 200).await;
    let cancelled = ends.iter().filter(|end| end["reason"] == "client_closed").count();
    assert_eq!((ends.len(), cancelled), (200, 100));
    nobody_was_cut_off(&proxy).await;
}

#[tokio::test]
async fn a_reader_that_gives_its_window_back_by_the_byte_is_no_attacker() {
    const LENGTH: usize = 200_000;
    let upstream = Upstream::serve(|mut upstream| async move {
        upstream.request().await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        upstream.write(head).await;
        // It takes as long as it takes.
        upstream.stream.write_all(&vec![b'x'; LENGTH]).await.unwrap();
        upstream.hold().await;
    })
    .await;
    let proxy = Proxy::to(upstream.address).start().await;
    let program = "http2-clients/tiny-windows.py";
    let measured = Peer::run(&["python", program, &proxy.url(), "/"]).await;
    println!("{measured}");
    assert_eq!(measured["bytes"], LENGTH, "{measured}");
    assert!(measured["updates"].as_u64() > Some(5000), "{measured}");
    nobody_was_cut_off(&proxy).await;
}
