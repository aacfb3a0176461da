//! Upstreams behind unix sockets, TLS and HTTP/2.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::harness::{Peer, Proxy, Upstream, find, soon, until};

/// A folder with an authority, and certificates that it has signed.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    async fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        let new = ["req", "-x509", "-subj", "/CN=tests", "-days", "2", "-keyout", "ca.key"];
        authority.openssl(&[&new[..], &["-out", "ca.pem", "-newkey"], EC].concat()).await;
        authority
    }

    async fn openssl(&self, arguments: &[&str]) {
        let mut openssl = Peer::program(&[&["openssl"][..], arguments].concat());
        let output = soon("openssl", openssl.current_dir(self.folder.path()).output()).await;
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts the upstream with a certificate for such a subject alternative name.
    async fn serve(&self, san: &str, options: &[&str]) -> Peer {
        self.serve_for("2", san, options).await
    }

    /// The same for that many days from now.
    async fn serve_for(&self, days: &str, san: &str, options: &[&str]) -> Peer {
        let extension = self.folder.path().join("san");
        std::fs::write(&extension, format!("subjectAltName={san}\n")).unwrap();
        let new = ["req", "-subj", "/CN=x", "-keyout", "key.pem", "-out", "csr.pem", "-newkey"];
        self.openssl(&[&new[..], EC].concat()).await;
        let sign = ["x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let rest = ["-CAcreateserial", "-days", days, "-extfile", "san", "-out", "cert.pem"];
        self.openssl(&[&sign[..], &rest].concat()).await;
        let (cert, key) = (self.file("cert.pem"), self.file("key.pem"));
        let command = ["node", "tls-upstream/server.mjs", "--cert", &cert, "--key", &key];
        Peer::serve(&[&command[..], options].concat()).await
    }
}

const EC: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// A proxy to `https://` that server, by the given host.
async fn proxy(server: &Peer, host: &str, tls: &str) -> Proxy {
    let port = server.address.port();
    Proxy::to_endpoints(&format!("\"https://{host}:{port}\"")).upstream(tls).start().await
}

/// What the upstream says that it was asked.
async fn facts(proxy: &Proxy) -> Value {
    let mut client = proxy.client().await;
    client.get("/").await;
    let response = client.response().await;
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

async fn is_tls_error(proxy: &Proxy, what: &str) {
    let mut client = proxy.client().await;
    client.post("/", b"secret").await;
    assert_eq!(client.response().await.error(), ("tls_error".into(), 502), "{what}");
    let failed = ["longwire_upstream_connects_total{", "result=\"tls\""];
    assert!(proxy.metric(&failed).await > 0.0, "{what}: it is counted");
}

#[tokio::test]
async fn an_https_upstream_is_verified_by_its_host() {
    let authority = Authority::new().await;
    let server = authority.serve("DNS:localhost", &[]).await;
    let ca = format!("tls.ca = \"{}\"", authority.file("ca.pem"));
    let proxy = proxy(&server, "localhost", &ca).await;
    let first = facts(&proxy).await;
    assert_eq!((&first["version"], &first["sni"]), (&"1.1".into(), &"localhost".into()));
    assert_eq!(facts(&proxy).await["port"], first["port"], "the connection is used again");
    assert_eq!(server.events("connection").len(), 1);
    let phases = "longwire_upstream_connect_duration_seconds_count{";
    for phase in ["phase=\"tcp\"", "phase=\"tls\""] {
        assert_eq!(proxy.metric(&[phases, phase]).await, 1.0, "{phase}");
    }
}

#[tokio::test]
async fn an_address_is_verified_as_an_address() {
    let authority = Authority::new().await;
    let ca = format!("tls.ca = \"{}\"", authority.file("ca.pem"));
    let server = authority.serve("IP:127.0.0.1", &[]).await;
    let good = proxy(&server, "127.0.0.1", &ca).await;
    assert_eq!(facts(&good).await["sni"], Value::Null, "an address is no server name");
    let server = authority.serve("IP:127.0.0.9", &[]).await;
    is_tls_error(&proxy(&server, "127.0.0.1", &ca).await, "another address").await;
}

#[tokio::test]
async fn sni_is_what_is_asked_for_and_verified() {
    let authority = Authority::new().await;
    let server = authority.serve("DNS:models.internal", &[]).await;
    let ca = format!("ca = \"{}\"", authority.file("ca.pem"));
    let named = format!("tls = {{ sni = \"models.internal\", {ca} }}");
    let good = proxy(&server, "127.0.0.1", &named).await;
    assert_eq!(facts(&good).await["sni"], "models.internal");
    let unnamed = format!("tls = {{ {ca} }}");
    is_tls_error(&proxy(&server, "127.0.0.1", &unnamed).await, "another name").await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_unless_told_otherwise() {
    let (ours, other) = (Authority::new().await, Authority::new().await);
    let server = other.serve("IP:127.0.0.1", &[]).await;
    let ca = format!("tls.ca = \"{}\"", ours.file("ca.pem"));
    is_tls_error(&proxy(&server, "127.0.0.1", &ca).await, "another authority").await;
    is_tls_error(&proxy(&server, "127.0.0.1", "").await, "not the system's").await;
    let unsafe_one = proxy(&server, "127.0.0.1", "tls.verify = false").await;
    facts(&unsafe_one).await;
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_error() {
    let server = Peer::serve(&["node", "tls-upstream/server.mjs"]).await;
    is_tls_error(&proxy(&server, "127.0.0.1", "tls.verify = false").await, "no TLS at all").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new().await;
    let server = authority.serve_for("-1", "DNS:localhost", &[]).await;
    let trusting = format!("tls.ca = \"{}\"", authority.file("ca.pem"));
    is_tls_error(&proxy(&server, "localhost", &trusting).await, "expired").await;
}

/// Twenty at once go over few connections, as HTTP/2.
async fn speaks_http2(proxy: &Proxy, server: &Peer) {
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.client().await;
        client.post("/", &[b'x'; 100_000]).await;
        clients.push(client);
    }
    for mut client in clients {
        let facts: Value = serde_json::from_slice(&client.response().await.body).unwrap();
        assert_eq!((&facts["version"], &facts["bytes"]), (&"2.0".into(), &100_000.into()));
    }
    let connections = server.events("connection").len();
    assert!(connections <= 2, "{connections} connections for 20 requests");
    let mut client = proxy.client().await;
    client.send("GET /sse HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").await;
    client.head().await;
    let mut text = String::new();
    while let Some(chunk) = client.chunk().await.filter(|chunk| !chunk.is_empty()) {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert_eq!(text, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn http_2_is_agreed_on_by_alpn() {
    let authority = Authority::new().await;
    let server = authority.serve("DNS:localhost", &["--http2"]).await;
    let rules = format!("tls.ca = \"{}\"\npool.http2 = true", authority.file("ca.pem"));
    let proxy = proxy(&server, "localhost", &rules).await;
    speaks_http2(&proxy, &server).await;
    assert!(server.events("connection").iter().all(|one| one["alpn"] == "h2"));
}

#[tokio::test]
async fn without_http2_an_upstream_that_could_is_spoken_to_in_http_1_1() {
    let authority = Authority::new().await;
    let server = authority.serve("DNS:localhost", &["--http2"]).await;
    let ca = format!("tls.ca = \"{}\"", authority.file("ca.pem"));
    assert_eq!(facts(&proxy(&server, "localhost", &ca).await).await["version"], "1.1");
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_on_http_2_gets_http_1_1() {
    let authority = Authority::new().await;
    let server = authority.serve("DNS:localhost", &[]).await;
    let rules = format!("tls.ca = \"{}\"\npool.http2 = true", authority.file("ca.pem"));
    assert_eq!(facts(&proxy(&server, "localhost", &rules).await).await["version"], "1.1");
}

#[tokio::test]
async fn http_2_without_tls_is_by_prior_knowledge() {
    let server = Peer::serve(&["node", "tls-upstream/server.mjs", "--http2"]).await;
    let proxy = Proxy::to(server.address).upstream("pool.http2 = true").start().await;
    speaks_http2(&proxy, &server).await;
}

/// An upstream at a path that answers each request with its head.
fn echoing(path: &Path) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        // Ends with the listener.
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            open.spawn(async move {
                let mut inbox = Vec::new();
                while stream.read_buf(&mut inbox).await.is_ok_and(|count| count > 0) {
                    while let Some(end) = find(&inbox, b"\r\n\r\n") {
                        let head: Vec<u8> = inbox.drain(..end + 4).collect();
                        let length = head.len();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                        stream.write_all(&[answer.as_bytes(), &head].concat()).await.unwrap();
                    }
                }
            });
        }
    })
}

#[tokio::test]
async fn curl_reaches_a_unix_socket_through_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("model.sock");
    let serving = echoing(&path);
    let endpoint = format!("{{ url = \"unix:{}\" }}", path.display());
    let proxy = Proxy::to_endpoints(&endpoint).start().await;
    for number in 1..=3 {
        let mut curl = Peer::program(&["curl", "-q", "--silent", "--fail", "--noproxy", "*"]);
        let output = soon("curl", curl.arg(format!("{}/x", proxy.url())).output()).await.unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        let head = String::from_utf8(output.stdout).unwrap();
        assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
        proxy.logged("end", number).await;
    }
    let ends = proxy.log("end");
    assert_eq!(ends[0]["endpoint"], path.to_str().unwrap(), "its name is its path");
    assert_eq!((&ends[0]["connection"], &ends[2]["connection"]), (&"new".into(), &"reused".into()));
    serving.abort();
    let _ = serving.await;
    std::fs::remove_file(&path).unwrap();
    until("nobody is there any more", || async {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.response().await.status != 200
    })
    .await;
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.error(), ("connect_refused".into(), 502));
}

#[tokio::test]
async fn a_server_that_decides_is_asked_over_tls() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (authority, other) = (Authority::new().await, Authority::new().await);
    let decider = authority.serve("IP:127.0.0.1", &[]).await;
    for (trusted, status) in [(&authority, 200), (&other, 503)] {
        let url = format!("https://127.0.0.1:{}/check", decider.address.port());
        let proxy = Proxy::to(upstream.address)
            .route(&format!("auth = {{ type = \"forward\", url = \"{url}\" }}"))
            .within(&["env", &format!("SSL_CERT_FILE={}", trusted.file("ca.pem"))])
            .start()
            .await;
        let mut client = proxy.client().await;
        client.get("/").await;
        assert_eq!(client.response().await.status, status);
    }
}
