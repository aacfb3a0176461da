use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Child;

use crate::harness::{Client, Peer, Proxy, Upstream, signal, until};

/// A process that logs to a file; it is killed when dropped.
struct Logging {
    child: Child,
    folder: tempfile::TempDir,
}

impl Logging {
    fn start(log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("longwire.toml");
        let file = folder.path().join("log");
        let text = format!(
            "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.fine]\nrespond = {{}}\n\
             [admin]\nbind = \"off\"\n[log]\nfile = {file:?}\n{log}\n"
        );
        std::fs::write(&config, text).unwrap();
        let command = [env!("CARGO_BIN_EXE_longwire"), "run", "-c", config.to_str().unwrap()];
        let child = Peer::program(&command).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signal(&self, name: &str) {
        signal(self.child.id().unwrap(), name);
    }

    async fn address(&self) -> SocketAddr {
        let found = || messages(&self.path("log"), "listening");
        until("it listens", || async { !found().is_empty() }).await;
        found()[0]["address"].as_str().unwrap().parse().unwrap()
    }
}

/// The whole lines of a file with that message; none if it is not there yet.
fn messages(path: &Path, message: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_default());
    lines.filter(|line: &Value| line["message"] == message).collect()
}

#[tokio::test]
async fn a_renamed_log_goes_on_under_its_name_and_loses_nothing() {
    const ROTATIONS: usize = 5;
    const REQUESTS: usize = 400;
    let mut logging = Logging::start("");
    let mut client = Client::connect(logging.address().await).await;
    let mode = std::fs::metadata(logging.path("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "not for everybody: {mode:o}");
    let old: Vec<_> =
        (1..=ROTATIONS).map(|number| logging.path(&format!("log.{number}"))).collect();
    for name in &old {
        for number in 0..REQUESTS {
            client.get("/").await;
            assert_eq!(client.response().await.status, 200);
            if number == REQUESTS / 2 {
                std::fs::rename(logging.path("log"), name).unwrap();
                logging.signal("USR1");
            }
        }
        until("the file is there again", || async {
            !messages(&logging.path("log"), "log file was opened anew").is_empty()
        })
        .await;
    }
    logging.signal("TERM");
    assert!(logging.child.wait().await.unwrap().success());
    let mut all = messages(&logging.path("log"), "end");
    all.extend(old.iter().flat_map(|path| messages(path, "end")));
    let ids: HashSet<_> = all.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!((all.len(), ids.len()), (ROTATIONS * REQUESTS, ROTATIONS * REQUESTS));
    assert_eq!(messages(&logging.path("log"), "stopped").len(), 1, "to the very last line");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_anew_goes_on_where_it_is() {
    let mut logging = Logging::start("level = \"error\"");
    let file = logging.path("log");
    until("the file is there", || async { file.exists() }).await;
    // The first signal comes when it is listened to: that is told in no line of this level.
    let begun = || async { logging.child.id().is_some_and(catches_user_signals) };
    until("signals are caught", begun).await;
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    logging.signal("USR1");
    logging.signal("TERM");
    assert!(logging.child.wait().await.unwrap().success(), "it goes on, to its end");
}

/// By the bits of the signals that are caught (proc(5)); SIGUSR1 is 10.
fn catches_user_signals(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> 9 & 1 == 1
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_at_all_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("longwire.toml");
    let text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.fine]\nrespond = {}\n\
        [log]\nfile = \"/nowhere/log\"\n";
    std::fs::write(&config, text).unwrap();
    let output = crate::cli::longwire(&["run", "-c", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = crate::cli::text(&output.stderr);
    assert!(said.contains("log.file: /nowhere/log: No such file"), "{said}");
}

#[tokio::test]
async fn without_a_file_the_signal_does_no_harm() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Proxy::to(upstream.address).start().await;
    proxy.signal("USR1");
    proxy.logged("no log file to open anew", 1).await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn of_what_goes_well_a_share_has_lines_and_of_what_fails_everything() {
    const COUNT: usize = 400;
    let upstream = Upstream::serve(|mut upstream| async move {
        while let Some(request) = upstream.try_request().await {
            match request.contains("/fails") {
                true => upstream.write("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await,
                false => {
                    upstream
                        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                        .await
                }
            }
        }
    })
    .await;
    let sample = "[log.access]\nsample = 0.25";
    let proxy = Proxy::to(upstream.address).tables(sample).start().await;
    let mut client = proxy.client().await;
    for path in ["/well", "/fails"] {
        for _ in 0..COUNT {
            // One id for all: whether there are lines is not for the client to choose.
            let id = "X-Request-Id: same";
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{id}\r\n\r\n")).await;
            client.response().await;
        }
    }
    let failed = |line: &&Value| line["path"] == "/fails";
    until("all failures are told", || async {
        proxy.log("end").iter().filter(failed).count() == COUNT
    })
    .await;
    let went_well = |line: &&Value| line["path"] == "/well";
    let (open, end) = (proxy.log("open"), proxy.log("end"));
    let (opens, ends) = (open.iter().filter(went_well), end.iter().filter(went_well));
    let span = |line: &Value| line["span_id"].as_str().unwrap().to_owned();
    let [opens, ends] = [opens.map(span).collect::<Vec<_>>(), ends.map(span).collect()];
    assert_eq!(opens, ends, "both lines of a stream, or none");
    // Eight standard deviations around a hundred.
    assert!((30..=170).contains(&ends.len()), "{} of {COUNT}", ends.len());
}
