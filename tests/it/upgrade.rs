use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Client, Peer, Running, SSE_HEAD, Upstream, page, soon, until};
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
             [listeners.web]\nbind = [\"{bind}\", \"unix:{}\"]\n\
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

/// Asks, and gives the head of an answer that is whole and well.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    close: bool,
) -> io::Result<String> {
    let close = if close { "Connection: close\r\n" } else { "" };
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{close}\r\n").as_bytes()).await?;
    let (mut answer, mut space) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\nok") {
        match stream.read(&mut space).await? {
            0 => {
                let kind = io::ErrorKind::UnexpectedEof;
                return Err(io::Error::new(kind, String::from_utf8_lossy(&answer).into_owned()));
            }
            count => answer.extend_from_slice(&space[..count]),
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(io::Error::other(answer)) }
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
                while !ends.load(Ordering::Relaxed) {
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
    ask(&mut stream?, true).await.map(|_| 1)
}

/// Requests on a connection, until the proxy ends it as HTTP has it: by `Connection: close`, or
/// while nothing is asked.
async fn kept(address: SocketAddr, ends: &AtomicBool) -> io::Result<u64> {
    let (mut stream, mut count) = (TcpStream::connect(address).await?, 0);
    while !ends.load(Ordering::Relaxed) {
        let head = ask(&mut stream, false).await?;
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
        assert!(metrics.contains("longwire_draining 0"), "{metrics}");
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
    let said = second.whole_log();
    assert!(said.contains("refuses: another upgrade is going on"), "{said}");
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
    let text = text.replace(&format!("\"unix:{}\"", place.web().display()), "");
    let text = text.replace("\"127.0.0.1:0\", ", &format!("\"unix:{}\"", more.display()));
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
    let said = without.whole_log();
    assert!(said.contains("--upgrade needs server.upgrade_socket"), "{said}");
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
