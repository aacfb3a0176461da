use std::net::SocketAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::{Peer, Proxy, ProxyBuilder, until};

const HTTP2: [&str; 2] = ["longwire_connections_active{", "protocol=\"h2\""];
const HTTP1: [&str; 2] = ["longwire_connections_active{", "protocol=\"http/1.1\""];
const ACCEPTED: [&str; 1] = ["longwire_connections_accepted_total{"];

/// A server that a page is for, and a certificate for what stands in front of it.
pub struct Stage {
    pub server: Peer,
    folder: tempfile::TempDir,
}

impl Stage {
    pub async fn new() -> Self {
        let server = Peer::serve(&["node", "browser-h2/server.mjs"]).await;
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
        Self { server, folder }
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A proxy with TLS.
    pub fn secure(&self) -> ProxyBuilder {
        Proxy::to(self.server.address).listener(&self.tls())
    }

    /// One that listens at `address`, too.
    pub fn secure_at(&self, address: SocketAddr) -> ProxyBuilder {
        let tls = self.tls();
        self.secure().tables(&format!("[listeners.again]\nbind = [\"{address}\"]\n{tls}"))
    }

    fn tls(&self) -> String {
        let (cert, key) = (self.file("chat.crt"), self.file("chat.key"));
        format!("tls.certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]")
    }

    /// Runs a program of the browser's at a proxy with TLS.
    async fn visit(&self, proxy: &Proxy, program: &str, options: &[&str]) -> Value {
        let (program, url) = (format!("browser-h2/{program}.mjs"), secure_url(proxy));
        let command = ["node", &program, &url, "--cert", &self.file("chat.crt")];
        Peer::run(&[&command, options].concat()).await
    }
}

/// Leaves `chat.crt`, signed by an authority that is forgotten at once, and `chat.key`.
pub fn certify(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("chat.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("chat.key"), key.serialize_pem()).unwrap();
}

pub fn secure_url(proxy: &Proxy) -> String {
    format!("https://{}", proxy.address)
}

#[tokio::test]
async fn a_page_does_everything_over_one_connection() {
    let stage = Stage::new().await;
    let proxy = stage.secure().route("sse.heartbeat = \"100ms\"").start().await;
    let measured = stage.visit(&proxy, "talk", &[]).await;
    let protocols = measured["protocols"].as_object().unwrap();
    for path in ["/", "/page.mjs", "/facts", "/events", "/chat"] {
        assert_eq!(protocols[path], "h2", "{path}: {protocols:?}");
    }
    let asked = json!({
        "method": "GET", "version": "1.1", "via": "2.0 longwire", "proto": "https",
        "host": proxy.address.to_string(),
    });
    assert_eq!(measured["facts"], asked);
    // The handshake of RFC 8441 became one of RFC 6455.
    let handshake = &stage.server.saw("handshake", 1).await[0];
    for fact in ["method", "version", "via", "proto", "host"] {
        assert_eq!(handshake[fact], asked[fact], "{handshake}");
    }
    assert_eq!(proxy.metric(&ACCEPTED).await, 1.0, "connections of {protocols:?}");
    let beats = |end: &Value| end["path"] == "/events" && end["heartbeats"].as_u64() > Some(0);
    until("a stream full of heartbeats has ended", || async { proxy.log("end").iter().any(beats) })
        .await;
}

#[tokio::test]
async fn fifty_streams_run_at_once_where_http_1_has_six() {
    let stage = Stage::new().await;
    let proxy = stage.secure().start().await;
    let refused = ["longwire_connections_refused_total{", "\"flood\""];
    let (measured, ()) = tokio::join!(stage.visit(&proxy, "many", &[]), async {
        proxy.metric_becomes(&["longwire_streams_active{", "kind=\"sse\""], 50.0).await;
        assert_eq!(proxy.metric(&HTTP2).await, 1.0);
        assert_eq!(proxy.metric(&HTTP1).await, 0.0);
    });
    assert_eq!(measured["states"], json!({ "connecting": 0, "open": 50, "closed": 0 }));
    let delay = |of: &str| measured["delays"][of].as_i64().unwrap();
    assert!(delay("median_ms") < 100 && delay("latest_ms") < 1000, "{measured}");

    // All were closed at once, and the backend's work ended at once, too.
    let closed = |time: usize| measured["closed_ms"][time].as_i64().unwrap();
    have_left(&stage.server, 0..50, closed(0)).await;
    have_left(&stage.server, 50..100, closed(1)).await;
    assert_eq!(proxy.metric(&ACCEPTED).await, 1.0, "it goes on after 50 resets: {measured}");
    assert_eq!(proxy.metric(&refused).await, 0.0, "50 resets are no flood");

    let plain = Proxy::to(stage.server.address).start().await;
    let many = ["node", "browser-h2/many.mjs", &plain.url(), "--running", "6"];
    let (measured, ()) = tokio::join!(Peer::run(&many), async {
        plain.metric_becomes(&["longwire_streams_active{", "kind=\"sse\""], 6.0).await;
    });
    assert_eq!(measured["states"], json!({ "connecting": 44, "open": 6, "closed": 0 }));
    assert_eq!(measured["protocols"]["/facts"], "http/1.1");
}

/// These streams of the server's, in the order in which they ended, did so within 500 ms.
async fn have_left(server: &Peer, those: std::ops::Range<usize>, left: i64) {
    let closes = server.saw("close", those.end).await;
    for close in &closes[those] {
        let after = close["ms"].as_i64().unwrap() - left;
        assert!((0..=500).contains(&after), "{after} ms after the page left: {close}");
    }
}

#[tokio::test]
async fn websockets_share_the_connection_of_their_page() {
    let stage = Stage::new().await;
    let rules = "websocket = { ping = \"100ms\", pong_timeout = \"2s\" }";
    let proxy = stage.secure().route(rules).start().await;
    let measured = stage.visit(&proxy, "sockets", &[]).await;
    assert_eq!(measured["statuses"], json!([200, 200, 200, 200]), "RFC 8441: {measured}");
    assert_eq!(proxy.metric(&ACCEPTED).await, 1.0, "one connection for the page and all of them");
    let handshakes = stage.server.saw("handshake", 4).await;
    for handshake in handshakes {
        assert_eq!(handshake["via"], "2.0 longwire", "{handshake}");
        assert_eq!(handshake["extensions"], "permessage-deflate", "{handshake}");
    }
    assert_eq!(measured["extensions"], "permessage-deflate");

    // The page closes one, the server another, and a killed server the last two.
    let closes = stage.server.saw("socket-close", 2).await;
    let close = |at: usize| (&closes[at]["code"], &closes[at]["reason"]);
    assert_eq!(close(0), (&json!(4001), &json!("enough")));
    assert_eq!(close(1), (&json!(4002), &json!("go away")));
    assert_eq!(measured["closed"], json!({ "code": 4002, "reason": "go away", "wasClean": true }));
    let died = json!({ "code": 1011, "reason": "upstream failed", "wasClean": true });
    assert_eq!(measured["died"], json!([died, died]));
    assert_eq!(measured["after"], 502, "the connection outlives the server");
    let ends = || -> Vec<Value> {
        proxy.log("end").into_iter().filter(|end| end["kind"] == "websocket").collect()
    };
    until("all have ended", || async { ends().len() == 4 }).await;
    let ends = ends();
    let mut told: Vec<_> =
        ends.iter().map(|end| (end["close_code"].as_u64(), end["closed_by"].as_str())).collect();
    told.sort_unstable();
    let proxys = (Some(1011), Some("proxy"));
    let others = [(Some(4001), Some("client")), (Some(4002), Some("upstream"))];
    assert_eq!(told, [[proxys, proxys], others].concat(), "{ends:?}");

    // The page was silent for a second. A ping without a pong would have been its end.
    let pings = ends.iter().map(|end| end["heartbeats"].as_u64().unwrap()).max();
    assert!(pings >= Some(5), "the page is pinged: {ends:?}");
    assert!(closes[0]["pings"].as_u64() >= Some(3), "the server is pinged, too: {closes:?}");
    assert_eq!(proxy.sum(&["longwire_websocket_missed_pongs_total{"]).await, 0.0);

    // Texts: a large one, one behind the silence, two commands and `!send`.
    let frames = async |direction: &str, opcode: &str| {
        let direction = format!("direction=\"{direction}\"");
        let opcode = format!("opcode=\"{opcode}\"");
        proxy.sum(&["longwire_websocket_frames_total{", &direction, &opcode]).await
    };
    assert_eq!((frames("in", "text").await, frames("out", "text").await), (5.0, 2.0));
    assert_eq!((frames("in", "binary").await, frames("out", "binary").await), (0.0, 1.0));
    assert!(frames("in", "continuation").await > 0.0, "Chromium sends a large one in pieces");
}

#[tokio::test]
async fn a_page_that_is_reloaded_or_left_leaves_its_streams() {
    let stage = Stage::new().await;
    let proxy = stage.secure().start().await;
    let measured = stage.visit(&proxy, "leave", &[]).await;
    have_left(&stage.server, 0..20, measured["reloaded_ms"].as_i64().unwrap()).await;
    have_left(&stage.server, 20..40, measured["left_ms"].as_i64().unwrap()).await;
    // Chromium says nothing on a WebSocket whose page goes away: over HTTP/2 it resets the stream
    // before its close frame is out.
    let closes = stage.server.saw("socket-close", 2).await;
    assert!(closes.iter().all(|close| close["code"] == 1006), "{closes:?}");
    let left = |end: &&Value| {
        let is_stream = end["path"] == "/events" || end["path"] == "/echo";
        is_stream && end["reason"] == "client_closed"
    };
    until("all have ended", || async { proxy.log("end").iter().filter(left).count() == 42 }).await;
    assert_eq!(proxy.metric(&ACCEPTED).await, 1.0, "the connection goes on");
    for kind in ["sse", "websocket"] {
        let kind = format!("kind=\"{kind}\"");
        assert_eq!(proxy.sum(&["longwire_streams_active{", &kind]).await, 0.0, "{kind}");
    }
}

const DRAIN: &str = "workers = 2\ndrain = { grace = \"1m\", spread = \"200ms\" }";

#[tokio::test]
async fn at_sigterm_streams_run_on_and_what_is_new_is_refused() {
    let stage = Stage::new().await;
    let mut proxy = stage.secure().server(DRAIN).start().await;
    let pid = proxy.pid().to_string();
    let measured = stage.visit(&proxy, "drain", &["--terminate", &pid]).await;
    drained(&proxy, &measured).await;
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn at_sigterm_what_is_new_goes_to_the_successor() {
    let stage = Stage::new().await;
    let mut proxy = stage.secure().server(DRAIN).start().await;
    let pid = proxy.pid().to_string();
    let options = ["--terminate", &pid, "--successor"];
    let (measured, successor) = tokio::join!(stage.visit(&proxy, "drain", &options), async {
        proxy.logged("draining", 1).await;
        until("its address is free", || async { TcpStream::connect(proxy.address).await.is_err() })
            .await;
        stage.secure_at(proxy.address).start().await
    });
    drained(&proxy, &measured).await;
    assert_eq!(successor.sum(&ACCEPTED).await, 1.0, "a connection of its own");
    let facts = |end: &Value| end["path"] == "/facts" && end["status"] == 200;
    assert!(successor.log("end").iter().any(facts), "{:?}", successor.log("end"));
    assert_eq!(proxy.exit_code().await, Some(0));
}

/// What the page had open when the proxy got its signal ended as it should.
async fn drained(proxy: &Proxy, measured: &Value) {
    assert_eq!(
        measured["closed"],
        json!({ "code": 1001, "reason": "restarting", "wasClean": true })
    );
    assert_eq!(measured["streams"], json!([30, 30, 30]), "all their events");
    let of = |path: &str| -> Vec<String> {
        let ends = proxy.log("end").into_iter().filter(|end| end["path"] == path);
        ends.map(|end| end["reason"].as_str().unwrap().to_owned()).collect()
    };
    until("all streams have ended", || async { of("/events").len() == 3 }).await;
    assert_eq!(of("/events"), ["completed"; 3]);
    assert_eq!(of("/echo"), ["drained"]);
}
