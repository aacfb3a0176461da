//! A model that thinks for longer than the proxy in front of us waits: nginx.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;

use crate::harness::{Peer, Proxy, Upstream, until, until_within};

/// How long each one waits.
struct Times {
    /// nginx for a byte of ours; `None` is its default, 60 s.
    nginx: Option<Duration>,
    /// The model before its answer.
    thinks: Duration,
    /// The proxy before it starts the answer without the model.
    commits: &'static str,
}

const SHORT: Times =
    Times { nginx: Some(Duration::from_secs(2)), thinks: Duration::from_secs(5), commits: "500ms" };
const LONG: Times = Times { nginx: None, thinks: Duration::from_secs(90), commits: "10s" };

/// nginx on a unix socket (a port might be taken) in front of a proxy.
struct Nginx {
    folder: tempfile::TempDir,
    _child: Child,
}

impl Nginx {
    async fn in_front_of(proxy: &Proxy, timeout: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // One process, since a worker would outlive a master that is killed. It must reach its
        // temporary files; only root may say as whom it runs.
        let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let user = if as_root { "user root;" } else { "" };
        let timeout =
            timeout.map(|t| format!("proxy_read_timeout {}ms;", t.as_millis())).unwrap_or_default();
        let text = format!(
            "{user} daemon off; master_process off; pid nginx.pid; error_log stderr error;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy;\n\
             fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
             server {{ listen unix:{}; {timeout}\n\
             location / {{ proxy_pass {}; proxy_http_version 1.1; }} }} }}\n",
            folder.path().join("socket").display(),
            proxy.url(),
        );
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, text).unwrap();
        // It lives in /usr/sbin, and not everybody looks there.
        let at = "/usr/sbin/nginx";
        let binary = if Path::new(at).exists() { at } else { "nginx" };
        let child = Peer::program(&[binary, "-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let nginx = Self { folder, _child: child };
        until("nginx listens", || async { nginx.folder.path().join("socket").exists() }).await;
        nginx
    }

    /// A chat request by curl: status and body. `stream` is what its JSON says.
    async fn chat(&self, stream: bool, limit: Duration) -> (u16, String) {
        let socket = self.folder.path().join("socket");
        let body = format!("{{\"stream\":{stream},\"messages\":[]}}");
        let mut curl = Peer::program(&["curl", "-q", "--silent", "--no-buffer", "--unix-socket"]);
        curl.arg(socket).args(["-H", "Content-Type: application/json", "-d", &body]);
        curl.args(["-w", "\n%{http_code}", "http://chat/v1/chat/completions"]);
        let output = tokio::time::timeout(limit, curl.output()).await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

/// What a client of nginx gets when the model thinks so long.
async fn through_nginx(times: &Times, commits: bool, stream: bool) -> (u16, String, Proxy) {
    let thinks = times.thinks;
    let model = Upstream::serve(move |mut upstream| async move {
        upstream.request().await;
        tokio::select! {
            () = tokio::time::sleep(thinks) => {}
            () = upstream.hold() => return,
        }
        upstream
            .write(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            )
            .await;
        upstream.chunk("data: {\"choices\":[{\"delta\":{\"content\":\"42\"}}]}\n\n").await;
        upstream.chunk("data: [DONE]\n\n").await;
        upstream.last_chunk().await;
        upstream.hold().await;
    })
    .await;
    let commit_after = if commits { times.commits } else { "off" };
    let heartbeat = if times.nginx.is_some() { "500ms" } else { "15s" };
    let route = format!(
        "sse = {{ commit_after = \"{commit_after}\", heartbeat = \"{heartbeat}\" }}\n\
         timeouts.first_byte = \"120s\""
    );
    let proxy = Proxy::to(model.address).route(&route).start().await;
    let nginx = Nginx::in_front_of(&proxy, times.nginx).await;
    let (status, body) = nginx.chat(stream, thinks + Duration::from_secs(10)).await;
    (status, body, proxy)
}

async fn the_answer_arrives(times: &Times) {
    let (status, body, proxy) = through_nginx(times, true, true).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"content\":\"42\""), "{body}");
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    assert!(body.starts_with(": keep-alive\n"), "heartbeats held the line: {body}");
    assert_eq!(proxy.reason().await, "completed");
}

async fn the_answer_does_not_arrive(times: &Times) {
    let (status, body, proxy) = through_nginx(times, false, true).await;
    assert_eq!(status, 504, "{body}");
    until_within(Duration::from_secs(5), "the proxy has seen it leave", || async {
        !proxy.log("end").is_empty()
    })
    .await;
    assert_eq!(proxy.reason().await, "client_closed", "nginx gave up");
}

#[tokio::test]
async fn an_early_start_carries_a_slow_model_through_nginx() {
    the_answer_arrives(&SHORT).await;
}

#[tokio::test]
async fn without_an_early_start_nginx_gives_up() {
    the_answer_does_not_arrive(&SHORT).await;
}

#[tokio::test]
async fn a_client_that_did_not_ask_for_a_stream_gets_no_early_start() {
    let (status, body, _proxy) = through_nginx(&SHORT, true, false).await;
    assert_eq!(status, 504, "{body}");
}

#[tokio::test]
#[ignore = "takes a minute and a half: make soak"]
async fn an_early_start_carries_a_model_that_thinks_for_90_s_through_nginx_with_its_60_s() {
    the_answer_arrives(&LONG).await;
}

#[tokio::test]
#[ignore = "takes a minute: make soak"]
async fn without_an_early_start_nginx_gives_up_after_its_60_s() {
    the_answer_does_not_arrive(&LONG).await;
}
