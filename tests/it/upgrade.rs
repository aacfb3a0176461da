use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longwire::proxy::app::LAST_LOOK;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::harness::{Client, Running, SSE_HEAD, Upstream, page, soon, until};
use crate::websocket::{AGREE, CLOSE, TEXT, Ws, bye};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A folder with a configuration, and the sockets that it names.
struct Place {
    folder: TempDir,
    upstream: SocketAddr,
}

impl Place {
    fn new(upstream: SocketAddr) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), upstream };
        place.write("127.0.0.1:0", "");
        place
    }

    fn write(&self, bind: &str, more: &str) {
        let text = format!(
            "[server]\nworkers = 2\nupgrade_socket = \"{}\"\n\
             drain = {{ grace = \"1m\", notify = false }}\n\
             [listeners.web]\nbind = [\"unix:{}\", \"{bind}\"]\n\
             [routes.all]\nupstream = \"http://{}\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n{more}\n",
            self.socket().display(),
            self.web().display(),
            self.upstream
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("longwire.toml")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("upgrade.sock")
    }

    fn web(&self) -> PathBuf {
        self.folder.path().join("web.sock")
    }

    /// The first process, once it serves.
    async fn first(&self) -> Running {
        let first = Running::run(&self.config(), &[]);
        first.admin_address().await;
        first
    }

    /// One that serves in place of another.
    async fn successor(&self) -> Running {
        let successor = Running::run(&self.config(), &["--upgrade"]);
        successor.logged("took over", 1).await;
        successor
    }
}

/// Answers `/sse` with a stream and `/chat` with a WebSocket; each stream ends at the word.
async fn upstream(word: Arc<Notify>) -> Upstream {
    Upstream::serve(move |mut upstream| {
        let word = Arc::clone(&word);
        async move {
            while let Some(request) = upstream.try_request().await {
                if request.starts_with("GET /sse ") {
                    let given = word.notified();
                    tokio::pin!(given);
                    given.as_mut().enable();
                    upstream.write(SSE_HEAD).await;
                    upstream.chunk("data: a\n\n").await;
                    given.await;
                    upstream.chunk("data: b\n\n").await;
                    upstream.last_chunk().await;
                } else if request.starts_with("GET /chat ") {
                    upstream.write(AGREE).await;
                    return Ws::of(upstream).echo().await;
                } else {
                    upstream.write(OK).await;
                }
            }
        }
    })
    .await
}

/// A request without an answer that is whole and well.
#[derive(Debug)]
struct Unanswered {
    error: io::Error,
    /// When it was written.
    asked: Instant,
    /// What came.
    answer: String,
}

impl From<Unanswered> for io::Error {
    fn from(Unanswered { error, answer, .. }: Unanswered) -> Self {
        Self::other(format!("{error}, after {answer:?}"))
    }
}

/// Asks, and gives the head of the answer.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    close: bool,
) -> Result<String, Unanswered> {
    let close = if close { "Connection: close\r\n" } else { "" };
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n");
    let written = stream.write_all(request.as_bytes()).await;
    let asked = Instant::now();
    let mut answer = Vec::new();
    let read = async {
        written?;
        while !answer.ends_with(b"\r\n\r\nok") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    let read = read.await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match read {
        Ok(()) if answer.starts_with("HTTP/1.1 200 ") => Ok(answer),
        Ok(()) => Err(Unanswered { error: io::Error::other("not well"), asked, answer }),
        Err(error) => Err(Unanswered { error, asked, answer }),
    }
}

/// Clients that ask without a pause, and what they have seen.
struct Load {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(address: SocketAddr, unix: &Path) -> Self {
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = Vec::new();
        for number in 0..8 {
            let (ends, asked) = (Arc::clone(&ends), Arc::clone(&asked));
            let unix = unix.to_owned();
            clients.push(tokio::spawn(async move {
                let mut failures = Vec::new();
                // One is enough to fail, and a client that fails without waiting would stop the rest.
                while failures.is_empty() && !ends.load(Ordering::Relaxed) {
                    let (kind, outcome) = match number % 3 {
                        0 => ("TCP", once(TcpStream::connect(address).await).await),
                        1 => ("unix", once(UnixStream::connect(&unix).await).await),
                        _ => ("kept", kept(address, &ends).await),
                    };
                    match outcome {
                        Ok(count) => _ = asked.fetch_add(count, Ordering::Relaxed),
                        Err(error) => failures.push(format!("{kind}: {error}")),
                    }
                }
                failures
            }));
        }
        Self { ends, asked, clients }
    }

    /// How many answers have come.
    fn answers(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(soon("a client's end", client).await.unwrap());
        }
        let asked = self.asked.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {asked}: {failures:#?}", failures.len());
        asked
    }
}

/// One request on a new connection.
async fn once(stream: io::Result<impl AsyncRead + AsyncWrite + Unpin>) -> io::Result<u64> {
    Ok(ask(&mut stream?, true).await.map(|_| 1)?)
}

/// Requests on a connection, until the proxy ends it as HTTP has it: by `Connection: close`, or
/// while nothing is asked.
async fn kept(address: SocketAddr, ends: &AtomicBool) -> io::Result<u64> {
    let (mut stream, mut count) = (TcpStream::connect(address).await?, 0);
    let mut answered = None;
    while !ends.load(Ordering::Relaxed) {
        let head = match ask(&mut stream, false).await {
            // It asked so late that it met the end of an idle connection (RFC 9112 §9.5).
            Err(unanswered)
                if answered.is_some_and(|at| unanswered.asked - at > LAST_LOOK * 3 / 4)
                    && unanswered.answer.is_empty() =>
            {
                break;
            }
            other => other?,
        };
        answered = Some(Instant::now());
        count += 1;
        if head.contains("Connection: close") {
            break;
        }
        // It looks before it asks again, as every client of HTTP does.
        let idle = tokio::time::timeout(Duration::from_millis(3), stream.readable()).await;
        if idle.is_ok() && matches!(stream.try_read(&mut [0; 1]), Ok(0)) {
            break;
        }
    }
    Ok(count)
}

/// So many upgrades in a row, with a stream and a WebSocket open across each.
async fn upgrades(times: u32) {
    let word = Arc::new(Notify::new());
    let upstream = upstream(Arc::clone(&word)).await;
    let place = Place::new(upstream.address);
    let mut running = place.first().await;
    let address = running.address().await;
    let load = Load::start(address, &place.web());
    for _ in 0..times {
        let before = load.answers();
        until("some answers", || async { load.answers() > before + 50 }).await;
        let mut stream = Client::connect(address).await;
        stream.get("/sse").await;
        stream.head().await;
        assert_eq!(stream.text().await, "data: a\n\n");
        let mut socket = Ws::ask(Client::connect(address).await, crate::websocket::ASK).await;
        let admin = running.admin_address().await;
        let mut operator = Client::connect(admin).await;
        operator.get("/readyz").await;
        assert_eq!(operator.response().await.status, 200);

        let successor = place.successor().await;
        assert_eq!(successor.address().await, address);
        assert_eq!(successor.admin_address().await, admin);
        assert_eq!(page(admin, "/readyz").await, (200, "ready\n".into()), "the successor answers");
        let metrics = page(admin, "/metrics").await.1;
        assert!(metrics.contains("longwire_draining 0"), "of the successor");
        assert!(!operator.ends().await, "operators come to the successor");
        let draining = running.logged("draining", 1).await;
        assert_eq!(draining[0]["asked"], "upgrade");
        assert_eq!(draining[0]["successor"], successor.pid());

        assert!(running.is_running(), "{}", running.whole_log());
        socket.send(TEXT, "still there?").await;
        socket.gets("still there?").await;
        socket.send(CLOSE, bye(1000, "")).await;
        assert_eq!(socket.gets_close().await.0, 1000);
        word.notify_waiters();
        assert_eq!(stream.text().await, "data: b\n\n");
        assert!(stream.chunk().await.unwrap().is_empty(), "the stream ends as it should");
        assert_eq!(running.exit_code().await, Some(0), "{}", running.whole_log());
        running = successor;
    }
    load.end().await;
    running.signal("TERM");
    assert_eq!(running.exit_code().await, Some(0));
    assert!(!place.web().exists() && !place.socket().exists(), "the last one takes them away");
}

#[tokio::test]
async fn three_upgrades_under_load_lose_nothing() {
    upgrades(3).await;
}

#[tokio::test]
#[ignore = "takes minutes on a busy machine"]
async fn ten_upgrades_under_load_lose_nothing() {
    upgrades(10).await;
}

#[tokio::test]
async fn a_successor_that_fails_changes_nothing() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let mut running = place.first().await;
    let (address, admin) = (running.address().await, running.admin_address().await);
    let load = Load::start(address, &place.web());

    // It cannot even be read.
    place.write("127.0.0.1:0", "[nonsense]");
    let mut broken = Running::run(&place.config(), &["--upgrade"]);
    assert_eq!(broken.exit_code().await, Some(78));

    // It has the sockets when it finds that an address is in use.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = format!("127.0.0.1:0\", \"{}", taken.local_addr().unwrap());
    place.write(&bind, "");
    let mut broken = Running::run(&place.config(), &["--upgrade"]);
    assert_eq!(broken.exit_code().await, Some(1), "{}", broken.whole_log());
    running.logged("no upgrade: serving on", 1).await;
    place.write("127.0.0.1:0", "");

    // It is killed when it has the sockets. To be slow it waits for a pipe that nobody writes to.
    let pipe = place.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let slow = format!(
        "[listeners.slow]\nbind = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"{0}\", key = \"{0}\" }}]",
        pipe.display()
    );
    place.write("127.0.0.1:0", &slow);
    let mut killed = Running::run(&place.config(), &["--upgrade"]);
    running.logged("handing over", 2).await;
    killed.logged("taking over from the process that runs", 1).await;
    // Only one at a time.
    let mut second = Running::run(&place.config(), &["--upgrade"]);
    assert_eq!(second.exit_code().await, Some(1));
    second.says("refuses: another upgrade is going on").await;
    killed.signal("KILL");
    assert_eq!(killed.exit_code().await, None);
    let lines = running.logged("no upgrade: serving on", 2).await;
    assert_eq!(lines[1]["why"], "the successor ended before it served");

    assert!(place.web().exists() && place.socket().exists(), "their files are still there");
    assert_eq!(page(admin, "/readyz").await.0, 200);
    let before = load.answers();
    until("more answers", || async { load.answers() > before + 100 }).await;
    load.end().await;
    // And then one that does not fail.
    place.write("127.0.0.1:0", "");
    let successor = place.successor().await;
    assert_eq!(running.exit_code().await, Some(0));
    assert_eq!(page(successor.admin_address().await, "/readyz").await.0, 200);
}

#[tokio::test]
async fn what_the_new_configuration_adds_and_drops_comes_and_goes() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let mut running = place.first().await;
    let gone = running.address().await;
    assert!(
        std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(place.socket()).unwrap().permissions()
        ) & 0o777
            == 0o600,
        "only its user may come"
    );
    let more = place.folder.path().join("more.sock");
    let text = std::fs::read_to_string(place.config()).unwrap();
    let text = text.replace(&format!("\"unix:{}\", ", place.web().display()), "");
    let text = text.replacen("127.0.0.1:0", &format!("unix:{}", more.display()), 1);
    std::fs::write(place.config(), text).unwrap();
    let successor = place.successor().await;
    assert_eq!(running.exit_code().await, Some(0));
    assert!(!place.web().exists(), "the one that had it took it away");
    assert!(TcpStream::connect(gone).await.is_err(), "nobody listens there");
    ask(&mut UnixStream::connect(&more).await.unwrap(), true).await.unwrap();
    assert_eq!(successor.log("listening no more").len(), 2);
}

#[tokio::test]
async fn the_first_start_with_upgrade_is_a_start() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let first = Running::run(&place.config(), &["--upgrade"]);
    first.admin_address().await;
    let warning = "no process runs that could be upgraded: starting as the first";
    assert_eq!(first.log(warning).len(), 1, "{}", first.whole_log());
    ask(&mut TcpStream::connect(first.address().await).await.unwrap(), true).await.unwrap();
    let text = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), text.replace("upgrade_socket", "#upgrade_socket")).unwrap();
    let mut without = Running::run(&place.config(), &["--upgrade"]);
    assert_eq!(without.exit_code().await, Some(78));
    without.says("--upgrade needs server.upgrade_socket").await;
}

#[tokio::test]
async fn a_successor_of_another_version_is_refused_in_words() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let running = place.first().await;
    let mut stream = UnixStream::connect(place.socket()).await.unwrap();
    let hello = r#"{"hello":{"version":2,"pid":1,"more":true}}"#;
    let length = u32::try_from(hello.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[4..]);
    assert!(answer.starts_with(r#"{"refused":{"why":"it speaks version 2"#), "{answer}");
    running.logged("no upgrade: serving on", 1).await;
}

/// Where the service manager is told things, and what it was told.
struct Manager {
    socket: UnixDatagram,
    variable: String,
}

impl Manager {
    fn new(place: &Place) -> Self {
        let path = place.folder.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, variable: format!("NOTIFY_SOCKET={}", path.display()) }
    }

    async fn told(&self) -> String {
        let mut space = [0; 256];
        let count = soon("a word to the service manager", self.socket.recv(&mut space)).await;
        String::from_utf8_lossy(&space[..count.unwrap()]).trim_end().to_owned()
    }
}

#[tokio::test]
async fn at_sigusr2_it_starts_its_successor_from_the_same_place() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let manager = Manager::new(&place);
    // The shell becomes the process, whose watchdog is its own, as systemd has it.
    let (v1, v2) = (place.folder.path().join("v1"), place.folder.path().join("v2"));
    let current = place.folder.path().join("longwire");
    for version in [&v1, &v2] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_longwire"), version).unwrap();
    }
    std::os::unix::fs::symlink(&v1, &current).unwrap();
    let command =
        format!("WATCHDOG_PID=$$ exec {} run -c {}", current.display(), place.config().display());
    let within = ["env", &manager.variable, "WATCHDOG_USEC=1000000", "sh", "-c", &command];
    let mut first = Running::start(&within);
    let address = first.address().await;
    assert_eq!(manager.told().await, "READY=1");
    let load = Load::start(address, &place.web());

    // What would be started now fails: a broken program, then a broken configuration.
    std::fs::remove_file(&current).unwrap();
    first.signal("USR2");
    first.logged("no upgrade: the successor cannot be started", 1).await;
    std::os::unix::fs::symlink("/bin/false", &current).unwrap();
    first.signal("USR2");
    let ended = first.logged("no upgrade: the successor has ended", 1).await;
    assert_eq!(ended[0]["status"], "exit status: 1");
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&v2, &current).unwrap();
    place.write("127.0.0.1:0", "[nonsense]");
    first.signal("USR2");
    first.logged("no upgrade: the successor has ended", 2).await;
    first.says("nonsense").await;
    assert_eq!(children(first.pid()), [0; 0], "none is left as a zombie");
    place.write("127.0.0.1:0", "");

    first.signal("USR2");
    first.logged("took over", 1).await;
    let second = first.logged("successor started", 3).await[2]["successor"].as_u64().unwrap();
    let main = format!("MAINPID={second}");
    until("the manager is told of the new main process", async || {
        let told = manager.told().await;
        assert!(told == "WATCHDOG=1" || told == main, "{told}");
        told == main
    })
    .await;
    let arguments = std::fs::read(format!("/proc/{second}/cmdline")).unwrap();
    let arguments = String::from_utf8(arguments).unwrap();
    let config = place.config();
    let expected = [current.to_str().unwrap(), "run", "-c", config.to_str().unwrap(), "--upgrade"];
    assert_eq!(arguments.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), expected);
    assert_eq!(first.exit_code().await, Some(0));
    assert_eq!(manager.told().await, "READY=1", "and nobody says STOPPING=1");
    for _ in 0..3 {
        assert_eq!(manager.told().await, "WATCHDOG=1", "of the successor");
    }
    // The successor has a successor.
    crate::harness::signal(u32::try_from(second).unwrap(), "USR2");
    first.logged("took over", 2).await;
    load.end().await;
    let third = first.logged("successor started", 4).await[3]["successor"].as_u64().unwrap();
    crate::harness::signal(u32::try_from(third).unwrap(), "TERM");
    first.logged("stopped", 3).await;
}

fn children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

#[tokio::test]
async fn without_an_upgrade_socket_sigusr2_is_answered_in_the_log() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let text = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), text.replace("upgrade_socket", "#upgrade_socket")).unwrap();
    let mut running = place.first().await;
    running.signal("USR2");
    running.logged("no upgrade: server.upgrade_socket is not set", 1).await;
    assert!(running.is_running());
}

#[tokio::test]
async fn sockets_that_systemd_opened_are_used_and_handed_over() {
    let upstream = Upstream::answering(OK).await;
    let place = Place::new(upstream.address);
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (web, admin, other) = (port(), port(), port());
    let unix = place.web();
    place.write(&web.to_string(), "");
    let text = std::fs::read_to_string(place.config()).unwrap();
    let text =
        text.replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\nbind = \"{admin}\""));
    std::fs::write(place.config(), text).unwrap();
    let sockets = [web, admin, other].map(|address| format!("--listen={address}"));
    let unix_socket = format!("--listen={}", unix.display());
    let config = place.config();
    let mut command = vec!["systemd-socket-activate", &unix_socket];
    command.extend(sockets.iter().map(String::as_str));
    let program = env!("CARGO_BIN_EXE_longwire");
    command.extend([program, "run", "-c", config.to_str().unwrap()]);
    let mut first = Running::start(&command);
    until("systemd listens", async || TcpStream::connect(web).await.is_ok()).await;
    // The first connection starts it, and waits until it serves.
    let mut client = Client::connect(web).await;
    client.get("/").await;
    assert_eq!(client.response().await.status, 200);
    ask(&mut UnixStream::connect(&unix).await.unwrap(), true).await.unwrap();
    assert_eq!(page(admin, "/readyz").await.0, 200);
    let unused = first.logged("LISTEN_FDS has it, the configuration has not", 1).await;
    assert_eq!(unused.len(), 1);
    assert_eq!(unused[0]["address"], other.to_string());

    let mut second = place.successor().await;
    assert_eq!(first.exit_code().await, Some(0));
    ask(&mut UnixStream::connect(&unix).await.unwrap(), true).await.unwrap();
    ask(&mut TcpStream::connect(web).await.unwrap(), true).await.unwrap();
    second.signal("TERM");
    assert_eq!(second.exit_code().await, Some(0));
    assert!(unix.exists(), "the file is systemd's");
    assert!(!place.socket().exists(), "this one is not");
}
