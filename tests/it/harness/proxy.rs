//! The real executable, with a configuration of the test's own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

use super::{Client, Peer, soon, until};

/// A running proxy; it is killed when dropped.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
    /// Whoever reads the log takes it for each line.
    log_gate: Arc<tokio::sync::Mutex<()>>,
    log_reader: JoinHandle<()>,
    config: tempfile::NamedTempFile,
}

/// What a proxy is to be like.
pub struct ProxyBuilder {
    server: String,
    listener: String,
    upstream: String,
    route: String,
    admin: String,
    rest: String,
    within: Vec<String>,
    command: Vec<String>,
    log_level: String,
}

impl Proxy {
    /// A proxy whose route `all` goes to the upstream `up` with that one endpoint.
    pub fn to(endpoint: SocketAddr) -> ProxyBuilder {
        Self::to_all(&[endpoint])
    }

    /// The same with several endpoints.
    pub fn to_all(endpoints: &[SocketAddr]) -> ProxyBuilder {
        let endpoints: Vec<_> = endpoints.iter().map(|e| format!("\"http://{e}\"")).collect();
        Self::to_endpoints(&endpoints.join(", "))
    }

    /// The same with the elements of `endpoints` as they are written in the file.
    pub fn to_endpoints(elements: &str) -> ProxyBuilder {
        ProxyBuilder {
            server: "workers = 2".into(),
            listener: String::new(),
            upstream: format!("endpoints = [{elements}]"),
            route: String::new(),
            admin: String::new(),
            rest: String::new(),
            within: Vec::new(),
            command: vec![env!("CARGO_BIN_EXE_longwire").into(), "run".into(), "-c".into()],
            log_level: "info".into(),
        }
    }

    /// A new client connection.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// `http://…` of the listener.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the listener of that name listens, as the log has it.
    pub fn listens(&self, listener: &str) -> Vec<String> {
        let lines = self.log("listening");
        let ours = lines.iter().filter(|line| line["listener"] == listener);
        ours.map(|line| line["address"].as_str().unwrap().to_owned()).collect()
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// Puts something else in its configuration file; it may not know yet.
    pub fn rewrite(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// Has it read its configuration anew; gives status and body of the answer.
    pub async fn reload(&self) -> (u16, String) {
        self.ask_admin("POST", "/-/reload").await
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        super::peer::signal(self.pid(), signal);
    }

    /// The exit code, once it has ended by itself.
    pub async fn exit_code(&mut self) -> Option<i32> {
        soon("the proxy's exit", self.child.wait()).await.unwrap().code()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The log lines with that message ("open", "end", …) so far.
    pub fn log(&self, message: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// All log lines so far.
    pub fn whole_log(&self) -> String {
        self.log.lock().unwrap().iter().map(|line| format!("{line}\n")).collect()
    }

    /// The log lines with that message, once there are `count`.
    pub async fn logged(&self, message: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} lines {message:?} are logged"), || async {
            self.log(message).len() >= count
        })
        .await;
        self.log(message)
    }

    /// Reads nothing more of the log until this is dropped.
    pub async fn hold_log(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.log_gate).lock_owned().await
    }

    /// Closes the pipe that the log is written to.
    pub async fn close_log(&mut self) {
        self.log_reader.abort();
        let _ = (&mut self.log_reader).await;
    }

    /// The reason of the only exchange that has ended so far.
    pub async fn reason(&self) -> String {
        let ends = self.logged("end", 1).await;
        assert_eq!(ends.len(), 1, "{ends:?}");
        ends[0]["reason"].as_str().unwrap().to_owned()
    }

    /// A page of the admin address: status and body.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        self.ask_admin("GET", path).await
    }

    /// What the admin address says to a request: status and body.
    pub async fn ask_admin(&self, method: &str, path: &str) -> (u16, String) {
        self.admin_says(&format!("{method} {path} HTTP/1.1\r\nHost: {}", self.admin), "").await
    }

    /// The answer of the admin address to a head without its last fields, with a token if it is not
    /// empty.
    pub async fn admin_says(&self, head: &str, token: &str) -> (u16, String) {
        let mut client = Client::connect(self.admin).await;
        let token = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let request = format!("{head}\r\n{token}Connection: close\r\n\r\n");
        client.send(request.as_bytes()).await;
        let response = client.response().await;
        (response.status, String::from_utf8(response.body).unwrap())
    }

    /// A page of the API, which must be there.
    pub async fn api(&self, path: &str) -> Value {
        let (status, body) = self.admin(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The value of the one sample whose name and labels contain all of `parts`; 0 if there is none.
    pub async fn metric(&self, parts: &[&str]) -> f64 {
        let (_, page) = self.admin("/metrics").await;
        let is_one = |line: &&str| !line.starts_with('#') && parts.iter().all(|p| line.contains(p));
        let found: Vec<_> = page.lines().filter(is_one).collect();
        assert!(found.len() <= 1, "{parts:?} fits several samples: {found:?}");
        found.first().map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// The sum of all samples whose name and labels contain all of `parts`.
    pub async fn sum(&self, parts: &[&str]) -> f64 {
        let (_, page) = self.admin("/metrics").await;
        page.lines()
            .filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Waits for a sample to have a value.
    pub async fn metric_becomes(&self, parts: &[&str], value: f64) {
        until(&format!("{parts:?} is {value}"), || async { self.metric(parts).await == value })
            .await;
    }

    /// Resident memory of its own in KiB: without the pages of the executable, which are read in as
    /// code is first run.
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.pid())
    }
}

/// The same of any process.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

impl ProxyBuilder {
    /// Lines for `[server]`.
    pub fn server(mut self, lines: &str) -> Self {
        self.server = lines.into();
        self
    }

    /// Lines for `[listeners.web]`.
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener = lines.into();
        self
    }

    /// More lines for `[upstreams.up]`.
    pub fn upstream(mut self, lines: &str) -> Self {
        self.upstream = format!("{}\n{lines}", self.upstream);
        self
    }

    /// Lines for `[routes.all]`.
    pub fn route(mut self, lines: &str) -> Self {
        self.route = lines.into();
        self
    }

    /// More lines for `[admin]`.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin = lines.into();
        self
    }

    /// A program that is told to run it, with the command line behind its own arguments, and
    /// becomes it.
    pub fn within(mut self, program: &[&str]) -> Self {
        self.within = program.iter().map(ToString::to_string).collect();
        self
    }

    /// Another command line than `longwire run -c`, to be followed by the path of the file.
    pub fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(ToString::to_string).collect();
        self
    }

    /// What is logged.
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.into();
        self
    }

    /// More tables.
    pub fn tables(mut self, text: &str) -> Self {
        self.rest = text.into();
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Proxy {
        let Self { server, listener, upstream, route, admin, rest, within, command, log_level } =
            self;
        let command: Vec<_> = within.iter().chain(&command).map(String::as_str).collect();
        let text = format!(
            "[server]\n{server}\n[listeners.web]\nbind = [\"127.0.0.1:0\"]\n{listener}\n\
             [upstreams.up]\n{upstream}\n[routes.all]\nupstream = \"up\"\n{route}\n\
             [admin]\nbind = \"127.0.0.1:0\"\n{admin}\n[log]\nformat = \"json\"\nlevel = \"{log_level}\"\n{rest}\n"
        );
        let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(config.path(), &text).unwrap();
        let file = config.path().to_owned();
        Proxy::run(&command, config, &file).await
    }
}

impl Proxy {
    /// The executable with a configuration file, which logs as JSON and has an admin address.
    pub async fn with_file(file: &Path) -> Self {
        let command = [env!("CARGO_BIN_EXE_longwire"), "run", "-c"];
        Self::run(&command, tempfile::NamedTempFile::new().unwrap(), file).await
    }

    async fn run(command: &[&str], config: tempfile::NamedTempFile, file: &Path) -> Self {
        let mut child = Peer::program(command)
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::<Value>::new()));
        let lines = Arc::clone(&log);
        let log_gate = Arc::new(tokio::sync::Mutex::new(()));
        let gate = Arc::clone(&log_gate);
        let log_reader = tokio::spawn(async move {
            while let Ok(Some(line)) = stdout.next_line().await {
                drop(gate.lock().await);
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lock().unwrap().push(line);
            }
        });
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        let find = |message: &str| -> Option<SocketAddr> {
            let log = log.lock().unwrap();
            let line = log.iter().find(|line| line["message"] == message)?;
            line["address"].as_str()?.parse().ok()
        };
        let listens = until("the proxy listens", || async {
            find("admin").is_some() || errors.is_finished()
        });
        listens.await;
        let (Some(address), Some(admin)) = (find("listening"), find("admin")) else {
            let text = std::fs::read_to_string(file).unwrap();
            panic!("the proxy did not start:\n{}\n{text}", errors.await.unwrap());
        };
        Self { child, address, admin, log, log_gate, log_reader, config }
    }
}
