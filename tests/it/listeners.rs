use std::time::Duration;

use longwire::clock;
use tokio::io::AsyncWriteExt;

use crate::harness::{Authority, Client, Peer, Proxy, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// `proxy-protocol.txt` §2.2: version 2, PROXY, TCP over IPv4, 203.0.113.9:12345.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x02\x30\x39\x01\xbb";

/// What `X-Forwarded-For` of the last request was.
fn forwarded_for(upstream: &Upstream) -> String {
    let head = upstream.requests().last().unwrap().clone();
    let line = head.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: "));
    line.unwrap_or_else(|| panic!("no X-Forwarded-For: {head}")).to_owned()
}

async fn curl(arguments: &[&str]) -> (bool, String) {
    let mut program = Peer::program(&[&["curl", "-sS", "-m", "10"], arguments].concat());
    let output = soon("curl's end", program.output()).await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn the_proxy_header_of_a_trusted_proxy_names_the_client() {
    let upstream = Upstream::answering(OK).await;
    let server = "trusted_proxies = [\"127.0.0.1\"]";
    for mode in ["optional", "required"] {
        let listener = format!("proxy_protocol = \"{mode}\"");
        let proxy = Proxy::to(upstream.address).server(server).listener(&listener).start().await;
        let (done, said) = curl(&["--haproxy-protocol", &proxy.url()]).await;
        assert!(done && said == "ok", "{mode}: {said}");
        assert_eq!(forwarded_for(&upstream), "127.0.0.1");
        for (header, expected) in [
            (V2, "203.0.113.9"),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "2001:db8::7"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.1"),
            (b"PROXY UNKNOWN\r\n", "unknown"),
        ] {
            let mut client = proxy.client().await;
            // Cut anywhere, and together with the request.
            client.send(&header[..7]).await;
            client.send([&header[7..], GET.as_bytes()].concat()).await;
            assert_eq!(client.response().await.status, 200);
            assert_eq!(forwarded_for(&upstream), expected, "{mode}");
            client.get("/").await;
            assert_eq!(client.response().await.status, 200, "the header is for the connection");
            assert_eq!(forwarded_for(&upstream), expected, "{mode}");
        }
        let ends = proxy.logged("end", 9).await;
        assert_eq!(ends[1]["client"], "203.0.113.9:12345");

        let mut plain = proxy.client().await;
        plain.get("/").await;
        if mode == "optional" {
            assert_eq!(plain.response().await.status, 200);
        } else {
            plain.ends().await;
            proxy.metric_becomes(&["refused_total", "reason=\"proxy_header\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_proxy_header_is_believed_of_nobody_else() {
    let upstream = Upstream::answering(OK).await;
    let listener = "proxy_protocol = \"optional\"";
    let proxy = Proxy::to(upstream.address).listener(listener).start().await;
    let mut client = proxy.client().await;
    client.send([V2, GET.as_bytes()].concat()).await;
    client.ends().await;
    let mut client = proxy.client().await;
    client.send(format!("PROXY TCP4 nonsense\r\n{GET}")).await;
    client.ends().await;
    proxy.metric_becomes(&["refused_total", "reason=\"proxy_header\""], 2.0).await;
    let mut honest = proxy.client().await;
    honest.get("/").await;
    assert_eq!(honest.response().await.status, 200);
    assert_eq!(upstream.requests().len(), 1);
    // Where it is not expected it is a request, and a bad one.
    let off = Proxy::to(upstream.address).start().await;
    let mut client = off.client().await;
    client.send(format!("PROXY TCP4 1.1.1.1 1.1.1.1 1 2\r\n{GET}")).await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn the_proxy_header_comes_before_tls() {
    let upstream = Upstream::answering(OK).await;
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    let listener = format!("proxy_protocol = \"required\"\ntls.certificates = [{files}]");
    let server = "trusted_proxies = [\"127.0.0.1\"]";
    let proxy = Proxy::to(upstream.address).server(server).listener(&listener).start().await;
    let port = proxy.address.port();
    let (ca, resolve) = (authority.path("ca.pem"), format!("a.example:{port}:127.0.0.1"));
    let url = format!("https://a.example:{port}/");
    let base = ["--cacert", &ca, "--resolve", &resolve, &url];
    for version in ["--http1.1", "--http2"] {
        let (done, said) = curl(&[&base[..], &["--haproxy-protocol", version]].concat()).await;
        assert!(done && said == "ok", "{version}: {said}");
    }
    let (done, _) = curl(&base).await;
    assert!(!done, "without the header");
}

#[tokio::test]
async fn unix_sockets_and_ipv6_are_listened_on() {
    let upstream = Upstream::answering(OK).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.sock");
    let path = path.to_str().unwrap();
    // One that a killed process has left behind.
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    let more = format!("[listeners.more]\nbind = [\"[::1]:0\", \"unix:{path}\"]\n");
    let mut proxy = Proxy::to(upstream.address).tables(&more).start().await;
    let [ipv6, unix] = &proxy.listens("more")[..] else { panic!("{:?}", proxy.listens("more")) };
    assert_eq!(*unix, format!("unix:{path}"));

    let (done, said) = curl(&["-w", " %{remote_ip}", &format!("http://{ipv6}/")]).await;
    assert!(done && said == "ok ::1", "{said}");
    assert_eq!(forwarded_for(&upstream), "::1");
    for option in ["--http1.1", "--http2-prior-knowledge"] {
        let (done, said) = curl(&["--unix-socket", path, option, "http://any.example/"]).await;
        assert!(done && said == "ok", "{option}: {said}");
        assert_eq!(forwarded_for(&upstream), "unknown");
    }
    // Who listens is not driven away.
    let config = format!(
        "[listeners.more]\nbind = [\"unix:{path}\"]\n[admin]\nbind = \"off\"\n\
                          [routes.all]\nupstream = \"http://{}\"\n",
        upstream.address
    );
    let file = directory.path().join("again.toml");
    std::fs::write(&file, config).unwrap();
    let mut second =
        Peer::program(&[env!("CARGO_BIN_EXE_longwire"), "run", "-c", file.to_str().unwrap()]);
    let output = soon("the second one's end", second.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains(&format!("cannot listen on unix:{path}: Address already in use")),
        "{said}"
    );
    let (done, said) = curl(&["--unix-socket", path, "--http1.1", "http://any.example/"]).await;
    assert!(done && said == "ok", "it still has its file: {said}");

    assert!(std::path::Path::new(path).exists(), "nor is its file taken away");

    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert!(!std::path::Path::new(path).exists(), "its file goes with it");
}

#[tokio::test]
async fn the_admin_page_can_be_on_a_unix_socket() {
    let upstream = Upstream::answering(OK).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let config = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.all]\nupstream = \"http://{}\"\n\
         [admin]\nbind = \"unix:{}\"\n",
        upstream.address,
        path.display()
    );
    let file = directory.path().join("longwire.toml");
    std::fs::write(&file, config).unwrap();
    let mut child =
        Peer::program(&[env!("CARGO_BIN_EXE_longwire"), "run", "-c", file.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
    until("the admin socket is there", async || path.exists()).await;
    let url = "http://localhost/metrics";
    let (done, said) = curl(&["--unix-socket", path.to_str().unwrap(), url]).await;
    assert!(done && said.contains("longwire_build_info"), "{said}");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn the_first_byte_that_differs_from_the_preface_decides() {
    let upstream = Upstream::answering(OK).await;
    let both = Proxy::to(upstream.address).start().await;
    let mut short = both.client().await;
    // 18 bytes; the preface has 24.
    short.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(short.response().await.status, 200);
    let mut alike = both.client().await;
    alike.send("P").await;
    alike.send("R / HTTP/1.0\r\n\r\n").await;
    assert_eq!(alike.response().await.status, 200, "a method that begins as the preface does");

    let only = Proxy::to(upstream.address).listener("protocols = [\"h2c\"]").start().await;
    let mut client = only.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.status, 505);
    let (done, said) = curl(&["--http2-prior-knowledge", &only.url()]).await;
    assert!(done && said == "ok", "{said}");

    let listener = "header_timeout = \"200ms\"";
    let hasty = Proxy::to(upstream.address).listener(listener).start().await;
    let mut half = hasty.client().await;
    half.send("PRI * HTTP/2.0\r\n").await;
    // Whatever it is told, it is told soon.
    while !half.read().await.unwrap_or_default().is_empty() {}
    hasty.metric_becomes(&["connections_active", "http/1.1"], 0.0).await;
}

#[tokio::test]
async fn tcp_keep_alive_is_on_for_every_connection() {
    let upstream = Upstream::answering(OK).await;
    let keepalive = "tcp_keepalive = { idle = \"77s\" }";
    let proxy = Proxy::to(upstream.address).listener(keepalive).start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.response().await;
    let filter = format!("sport = :{}", proxy.address.port());
    let output =
        soon("ss", Peer::program(&["ss", "-tnoH", "state", "established", &filter]).output()).await;
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(said.contains("timer:(keepalive,1min1"), "of 77 s: {said}");
}

#[tokio::test]
async fn one_client_too_many_is_told_at_once() {
    let upstream = Upstream::sse(|mut upstream| async move { upstream.hold().await }).await;
    let proxy = Proxy::to(upstream.address).server("max_connections = 3").start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await;
        open.push(client);
    }
    for _ in 0..5 {
        let mut refused = proxy.client().await;
        refused.get("/").await;
        let response = refused.response().await;
        assert_eq!(response.status, 503);
        assert_eq!(response.error().0, "too_many_connections");
        assert_eq!(response.field("retry-after"), Some("1"));
    }
    proxy.metric_becomes(&["refused_total", "reason=\"max_connections\""], 5.0).await;
    let warning = "max_connections is reached: connections are turned away";
    assert_eq!(proxy.logged(warning, 1).await[0]["limit"], 3);
    assert_eq!(proxy.admin("/readyz").await.0, 200, "operators have places of their own");
    drop(open.pop());
    until("the place is free", async || {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await.starts_with("HTTP/1.1 200")
    })
    .await;
}

#[tokio::test]
async fn service_is_back_at_once_after_descriptors_ran_out() {
    let upstream = Upstream::sse(|mut upstream| async move {
        while upstream.stream.write_all(b"9\r\ndata: x\n\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let proxy = Proxy::to(upstream.address)
        .server("max_connections = 1000")
        .within(&["prlimit", "--nofile=100:100"])
        .start()
        .await;
    let mut stream = proxy.client().await;
    stream.get("/").await;
    stream.head().await;
    // The time depends on what else the machine does: one flood in three has to be quick.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        fastest = fastest.min(back_after_a_flood(&proxy, &mut stream).await);
    }
    assert!(fastest < Duration::from_millis(200), "service came back after {fastest:?}");
    proxy.logged("cannot accept connections", 1).await;
    let refused = proxy.metric(&["refused_total", "reason=\"descriptors\""]).await;
    assert!(refused >= 100.0, "{refused}");
}

/// Opens more connections than there are descriptors, leaves, and gives how long others waited.
async fn back_after_a_flood(proxy: &Proxy, stream: &mut Client) -> Duration {
    let mut flood = Vec::new();
    for _ in 0..300 {
        let connect = tokio::net::TcpStream::connect(proxy.address);
        flood.push(soon("a connection", connect).await.unwrap());
    }
    until("connections are closed for want of descriptors", async || {
        // The admin address has none to spare now, either: the clients have to tell.
        let closed = |client: &&_| tokio::net::TcpStream::try_read(client, &mut [0]).is_ok();
        flood.iter().filter(closed).count() >= 100
    })
    .await;
    assert_eq!(stream.text().await, "data: x\n\n", "an open stream goes on");
    drop(flood);
    let freed = clock::now();
    // Until the proxy has seen the flood leave, others are turned away, and may come again.
    until("a client is served", async || {
        let mut late = Client::connect(proxy.address).await;
        let asked = late.stream.write_all(GET.as_bytes()).await;
        asked.is_ok() && late.read().await.is_ok_and(|read| read.starts_with(b"HTTP/1.1 200"))
    })
    .await;
    freed.elapsed()
}
