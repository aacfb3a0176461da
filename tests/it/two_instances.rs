use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::browser_h2::certify;
use crate::cli::{longwire, text};
use crate::harness::{Peer, Proxy, ProxyBuilder, until, until_within};

/// The balancer asks every 100 ms, so that it knows before nothing is accepted any more.
const SERVER: &str =
    "workers = 2\ndrain = { min_wait = \"600ms\", grace = \"2s\", spread = \"800ms\" }";

/// Two instances behind HAProxy, which sends all to the first as long as that is ready.
struct Pair {
    _origin: Peer,
    first: Proxy,
    second: Proxy,
    address: SocketAddr,
    folder: tempfile::TempDir,
    _balancer: Child,
}

impl Pair {
    async fn new(secure: bool) -> Self {
        let origin = Peer::serve(&["node", "two-instances/server.mjs"]).await;
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
        let instance = |name: &str| -> ProxyBuilder {
            let route =
                format!("sse.retry = \"1s\"\nheaders.request_set = {{ X-Instance = \"{name}\" }}");
            let at = folder.path().display();
            let pair = format!("{{ cert = \"{at}/chat.crt\", key = \"{at}/chat.key\" }}");
            let tls = if secure { format!("tls.certificates = [{pair}]") } else { String::new() };
            Proxy::to(origin.address).server(SERVER).listener(&tls).route(&route)
        };
        let (first, second) = (instance("first").start().await, instance("second").start().await);
        let (address, balancer) = balance(folder.path(), &first, &second).await;
        Self { _origin: origin, first, second, address, folder, _balancer: balancer }
    }

    /// What a page sees while `drain` is done to the instance that it lives with.
    async fn visit(&mut self, secure: bool, drain: impl FnOnce(&Proxy)) -> Value {
        let url = format!("http{}://{}", if secure { "s" } else { "" }, self.address);
        let cert = self.folder.path().join("chat.crt").to_str().unwrap().to_owned();
        let command = ["node", "two-instances/browser.mjs", &url, "--cert", &cert];
        let (seen, ()) = tokio::join!(Peer::run(&command), async {
            // Chromium takes its time to start.
            let events = ["longwire_events_total{"];
            let flow = || async { self.first.sum(&events).await > 5.0 };
            until_within(Duration::from_secs(40), "events flow", flow).await;
            self.first.metric_becomes(&["longwire_streams_active{", "\"websocket\""], 1.0).await;
            let asked = Instant::now();
            drain(&self.first);
            assert_eq!(self.first.exit_code().await, Some(0));
            let took = asked.elapsed();
            let least = Duration::from_millis(600 + 1200);
            assert!(took >= least, "min_wait, and grace until its last spread: {took:?}");
            assert!(took < Duration::from_secs(6), "{took:?}");
        });
        seen
    }
}

/// HAProxy at an address of its own, once it is there. A check that is answered late, on a busy
/// machine, is no failure.
async fn balance(folder: &Path, first: &Proxy, second: &Proxy) -> (SocketAddr, Child) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut config = format!(
        "global\n    maxconn 1000\n\
         defaults\n    mode tcp\n    timeout connect 5s\n    timeout check 5s\n    timeout client 1h\n    timeout server 1h\n\
         listen web\n    bind {address}\n\
         \x20   option httpchk\n    http-check send meth GET uri /readyz\n"
    );
    for (name, instance, role) in [("first", first, ""), ("second", second, "backup")] {
        let (to, port) = (instance.address, instance.admin.port());
        let check = format!("check port {port} inter 100ms fall 1 rise 1");
        writeln!(config, "    server {name} {to} {check} {role}").unwrap();
    }
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    // It lives in /usr/sbin, and not everybody looks there.
    let at = "/usr/sbin/haproxy";
    let binary = if Path::new(at).exists() { at } else { "haproxy" };
    // `-db`: in the foreground.
    let mut balancer = Peer::program(&[binary, "-db", "-f"]);
    let balancer = balancer.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("HAProxy listens", || async { TcpStream::connect(address).await.is_ok() }).await;
    (address, balancer)
}

/// The page went over to the second instance and lost nothing.
fn went_over(pair: &Pair, seen: &Value) {
    let both = json!(["first", "second"]);
    assert_eq!((&seen["events_from"], &seen["socket_from"]), (&both, &both), "{seen}");

    let ids: Vec<_> =
        seen["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    let each = ids.windows(2).all(|two| two[1] == two[0] + 1);
    assert!(each, "each event comes once, in its order: {ids:?}");
    assert_eq!(seen["errors"], 1, "one end, and the next attempt succeeds: {seen}");
    let back = seen["events_back_ms"].as_f64().unwrap();
    assert!((950.0..2500.0).contains(&back), "told 1000 to 1500 ms: {seen}");

    let closes = json!([{ "code": 1001, "reason": "restarting", "wasClean": true }]);
    assert_eq!(seen["closes"], closes, "told once, and the next attempt succeeds");
    let back = seen["socket_back_ms"].as_f64().unwrap();
    assert!(back < 1000.0, "it waits for 100 ms at most: {seen}");

    assert_eq!(seen["failed"], json!([]), "of {} requests", seen["requests"]);
    assert!(seen["requests"].as_u64() > Some(20), "{seen}");
    let ends = pair.first.log("end");
    let streams = ends.iter().filter(|end| end["path"] == "/events" || end["path"] == "/echo");
    let reasons: Vec<_> = streams.map(|end| end["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["drained", "drained"]);
    let opened = |path: &str| pair.second.log("open").iter().filter(|o| o["path"] == path).count();
    assert_eq!((opened("/events"), opened("/echo")), (1, 1), "at the first attempt");
}

#[tokio::test]
async fn a_page_goes_over_to_another_instance_at_sigterm() {
    let mut pair = Pair::new(false).await;
    let seen = pair.visit(false, |first| first.signal("TERM")).await;
    assert_eq!(seen["protocol"], "http/1.1");
    went_over(&pair, &seen);
}

#[tokio::test]
async fn a_page_over_http_2_goes_over_to_another_instance_at_the_command() {
    let mut pair = Pair::new(true).await;
    let drain = |first: &Proxy| {
        let told = longwire(&["drain", "--admin", &first.admin.to_string()]);
        assert!(told.status.success(), "{}", text(&told.stderr));
    };
    let seen = pair.visit(true, drain).await;
    assert_eq!(seen["protocol"], "h2");
    went_over(&pair, &seen);
}
