//! Processes that share a configuration file: the one that serves, and its successors.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;

use super::{Client, Peer, find, soon, until};

/// A process; it is killed when dropped. What it starts writes into the same log.
pub struct Running {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Running {
    /// `longwire run -c` with that file.
    pub fn run(config: &Path, more: &[&str]) -> Self {
        let config = config.to_str().unwrap();
        let command = [env!("CARGO_BIN_EXE_longwire"), "run", "-c", config];
        Self::start(&[&command, more].concat())
    }

    /// Any command that becomes one.
    pub fn start(command: &[&str]) -> Self {
        let mut program = Peer::program(command);
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(note(child.stdout.take().unwrap(), Arc::clone(&log)));
        tokio::spawn(note(child.stderr.take().unwrap(), Arc::clone(&log)));
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, signal: &str) {
        super::peer::signal(self.pid(), signal);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit code, once it has ended by itself.
    pub async fn exit_code(&mut self) -> Option<i32> {
        soon("the process's exit", self.child.wait()).await.unwrap().code()
    }

    /// The log lines with that message so far.
    pub fn log(&self, message: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// The same, once there are `count`.
    pub async fn logged(&self, message: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} lines {message:?} in\n{}", self.whole_log()), || async {
            self.log(message).len() >= count
        })
        .await;
        self.log(message)
    }

    /// Waits until that is somewhere in its lines.
    pub async fn says(&self, text: &str) {
        until(&format!("{text:?} in\n{}", self.whole_log()), || async {
            self.whole_log().contains(text)
        })
        .await;
    }

    /// All lines so far, those of standard error among them.
    pub fn whole_log(&self) -> String {
        self.log.lock().unwrap().iter().map(|line| format!("{line}\n")).collect()
    }

    /// Where it listens, by TCP.
    pub async fn address(&self) -> SocketAddr {
        self.first_tcp("listening").await
    }

    /// Where its operators ask.
    pub async fn admin_address(&self) -> SocketAddr {
        self.first_tcp("admin").await
    }

    async fn first_tcp(&self, message: &str) -> SocketAddr {
        until("an address is logged", async || first_tcp(&self.log(message)).is_some()).await;
        first_tcp(&self.log(message)).expect("it was there")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Those that it has started, in turn, are not killed with it.
        for line in self.log("successor started") {
            let pid = &line["successor"].to_string();
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if find(&command, b"--upgrade").is_some() {
                let _ = std::process::Command::new("kill").args(["-KILL", pid]).status();
            }
        }
    }
}

/// A page of an admin address: status and body.
pub async fn page(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Client::connect(admin).await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let response = client.response().await;
    (response.status, response.text().to_owned())
}

fn first_tcp(lines: &[Value]) -> Option<SocketAddr> {
    let addresses = lines.iter().filter_map(|line| line["address"].as_str()?.parse().ok());
    addresses.min()
}

async fn note(from: impl AsyncRead + Unpin, log: Arc<Mutex<Vec<Value>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
        log.lock().unwrap().push(line);
    }
}
