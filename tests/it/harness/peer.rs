//! Programs that nobody here wrote, started as children.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::{soon, until};

/// For a client program, whose own deadline is shorter and says what it waited for.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// The folder of the peer programs.
pub fn peers() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers"))
}

/// A server of the peer folder: it says `listening PORT`, then events as JSON lines, and ends when
/// its standard input does.
pub struct Peer {
    pub address: SocketAddr,
    events: Arc<Mutex<Vec<Value>>>,
    child: Child,
    stdin: ChildStdin,
}

impl Peer {
    /// Starts a server, such as `["node", "close-listener/server.mjs"]`.
    pub async fn serve(command: &[&str]) -> Self {
        let mut child = Self::program(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv (of util-linux): {error}"));
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = soon("the peer's port", stdout.next_line()).await.unwrap();
        let port = first.as_deref().and_then(|line| line.strip_prefix("listening ")?.parse().ok());
        let port: u16 =
            port.unwrap_or_else(|| panic!("{command:?} said {first:?} (run `make test` once)"));
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                sink.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, events, child, stdin }
    }

    /// The events of that name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event["event"] == name).cloned().collect()
    }

    /// The events of that name, once there are `count`.
    pub async fn saw(&self, name: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} events {name:?}"), || async { self.events(name).len() >= count })
            .await;
        self.events(name)
    }

    /// Tells it something by a line on its standard input; it must answer that it was told.
    pub async fn tell(&mut self, line: &str) {
        let before = self.events("told").len();
        soon("the peer to listen", self.stdin.write_all(format!("{line}\n").as_bytes()))
            .await
            .unwrap();
        let told = self.saw("told", before + 1).await;
        let last = told.last().unwrap();
        assert_eq!((&last["line"], &last["error"]), (&line.into(), &Value::Null), "{last}");
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id().expect("it runs"), name);
    }

    /// Kills it with SIGKILL and waits until it is gone, its sockets with it.
    pub async fn kill(&mut self) {
        soon("the peer's end", self.child.kill()).await.unwrap();
    }

    /// Runs a client program to its end; gives the JSON of its last line.
    pub async fn run(command: &[&str]) -> Value {
        let running = Self::program(command).output();
        let output = tokio::time::timeout(LONGEST_RUN, running)
            .await
            .unwrap_or_else(|_| panic!("{command:?} runs longer than {LONGEST_RUN:?}"))
            .unwrap_or_else(|error| panic!("setpriv (of util-linux): {error}"));
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} failed:\n{stdout}\n{stderr}");
        let last = stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{command:?} ended with {last:?}"))
    }

    /// A program that does not outlive the test, not even when the test is killed. `python` is the
    /// one that has the packages of `requirements.txt`.
    pub fn program(command: &[&str]) -> Command {
        let mut program = Command::new("setpriv");
        program.args(["--pdeathsig", "KILL"]);
        match command[0] {
            "python" => program.arg(peers().join(".venv/bin/python")),
            name => program.arg(name),
        };
        program.args(&command[1..]).current_dir(peers()).stdin(Stdio::null()).kill_on_drop(true);
        program
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    kill.args([&format!("-{name}"), &pid.to_string()]);
    assert!(kill.status().unwrap().success(), "kill -{name} {pid}");
}
