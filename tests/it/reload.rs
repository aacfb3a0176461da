use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::cli::{longwire, text};
use crate::harness::{Authority, Client, Proxy, Upstream, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The body of the answer to a request on a connection of its own.
async fn ask(proxy: &Proxy, path: &str) -> String {
    let mut client = proxy.client().await;
    client.get(path).await;
    client.response().await.text().to_owned()
}

async fn reloads(proxy: &Proxy) -> Value {
    let (status, body) = proxy.reload().await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A stream that says `a` at once, and `b` and its end after a word.
async fn two_words() -> (Upstream, Arc<Notify>) {
    let word = Arc::new(Notify::new());
    let wait = Arc::clone(&word);
    let upstream = Upstream::sse(move |mut upstream| {
        let wait = Arc::clone(&wait);
        async move {
            upstream.chunk("data: a\n\n").await;
            wait.notified().await;
            upstream.chunk("data: b\n\n").await;
            upstream.last_chunk().await;
            upstream.hold().await;
        }
    })
    .await;
    (upstream, word)
}

#[tokio::test]
async fn new_requests_get_the_new_configuration_and_open_streams_keep_theirs() {
    let (old, word) = two_words().await;
    let new = Upstream::answering(OK).await;
    let proxy = Proxy::to(old.address)
        .route("headers.response_set = { X-Edition = \"first\" }")
        .start()
        .await;
    let mut stream = proxy.client().await;
    stream.get("/").await;
    assert!(stream.head().await.contains("X-Edition: first\r\n"));
    assert_eq!(stream.text().await, "data: a\n\n");
    proxy.rewrite("first", "second");
    proxy.rewrite(&old.address.to_string(), &new.address.to_string());
    assert_eq!(reloads(&proxy).await, json!({ "reloaded": true, "needs_restart": [] }));
    let mut late = proxy.client().await;
    late.get("/").await;
    let response = late.response().await;
    assert_eq!((response.text(), response.field("x-edition")), ("ok", Some("second")));
    word.notify_one();
    assert_eq!(stream.text().await, "data: b\n\n", "its endpoint is gone, and it is not");
    assert!(stream.chunk().await.unwrap().is_empty(), "it ends as it should");
    assert_eq!(proxy.metric(&["config_reloads_total{result=\"ok\"}"]).await, 1.0);
    // On the connection that the stream had, too.
    stream.get("/").await;
    assert_eq!(stream.response().await.text(), "ok");
}

#[tokio::test]
async fn a_signal_does_the_same_and_a_bad_file_changes_nothing() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let first = proxy.metric(&["config_last_reload_success_timestamp_seconds"]).await;
    assert!(first > 1.0e9);
    proxy.rewrite("upstream = \"up\"", "upstream = \"nowhere\"\ntimeouts.idle = 5");
    let (status, errors) = proxy.reload().await;
    assert_eq!(status, 422);
    for part in [proxy.config().to_str().unwrap(), "nowhere", "5s", "2 errors", "timeouts.idle"] {
        assert!(errors.contains(part), "{part:?} is not in\n{errors}");
    }
    assert_eq!(ask(&proxy, "/").await, "ok");
    assert_eq!(proxy.metric(&["config_last_reload_successful"]).await, 0.0);
    assert_eq!(proxy.metric(&["config_last_reload_success_timestamp_seconds"]).await, first);
    assert_eq!(proxy.metric(&["config_reloads_total{result=\"failed\"}"]).await, 1.0);
    let told = &proxy.logged("configuration stays as it was", 1).await[0];
    assert!(told["error"].as_str().unwrap().contains("nowhere"), "{told}");

    proxy.rewrite("upstream = \"nowhere\"\ntimeouts.idle = 5", "respond.body = \"here\"");
    proxy.signal("HUP");
    proxy.logged("configuration reloaded", 1).await;
    assert_eq!(ask(&proxy, "/").await, "here");
    assert_eq!(proxy.metric(&["config_last_reload_successful"]).await, 1.0);
    assert!(proxy.metric(&["config_last_reload_success_timestamp_seconds"]).await > first);
}

#[tokio::test]
async fn endpoints_that_stay_keep_connections_counts_and_health() {
    let upstream = Upstream::answering(OK).await;
    let dead = "127.0.0.1:1";
    let proxy = Proxy::to_all(&[upstream.address, dead.parse().unwrap()])
        .upstream("health.passive = { failures = 1, eject_for = \"1h\", max_eject_for = \"1h\" }")
        .start()
        .await;
    let ask_in_turn = async |count: usize| {
        for _ in 0..count {
            assert_eq!(ask(&proxy, "/").await, "ok");
            let idle = ["upstream_connections{", "idle", &upstream.address.to_string()];
            proxy.metric_becomes(&idle, 1.0).await;
        }
    };
    ask_in_turn(4).await;
    let up = |name: &str| format!("upstream_endpoint_up{{endpoint=\"{name}\"");
    proxy.metric_becomes(&[&up(dead)], 0.0).await;
    let requests = ["upstream_requests_total", &upstream.address.to_string()];
    assert_eq!((upstream.connections(), proxy.sum(&requests).await), (1, 4.0));
    // Another endpoint, another share, another policy; these two stay what they are.
    proxy.rewrite(
        &format!("\"http://{dead}\"]"),
        &format!("\"http://{dead}\", \"http://127.0.0.1:2\"]\nbalance = \"round_robin\""),
    );
    let plain = format!("\"http://{}\"", upstream.address);
    proxy.rewrite(&plain, &format!("{{ url = {plain}, weight = 100 }}"));
    reloads(&proxy).await;
    assert_eq!(proxy.metric(&[&up(dead)]).await, 0.0, "it stays ejected");
    ask_in_turn(8).await;
    assert_eq!(upstream.connections(), 1, "the idle connection is still there");
    assert_eq!(proxy.sum(&requests).await, 12.0);
    assert_eq!(proxy.sum(&["upstream_connects_total", dead]).await, 1.0, "nobody tried again");
}

#[tokio::test]
async fn what_is_gone_leaves_the_metrics_with_its_last_stream() {
    let (old, word) = two_words().await;
    let new = Upstream::answering(OK).await;
    let proxy = Proxy::to(new.address)
        .tables(&format!(
            "[upstreams.gone]\nendpoints = [\"http://{}\"]\n\
             [routes.gone]\npaths = [\"/gone\"]\nupstream = \"gone\"",
            old.address
        ))
        .start()
        .await;
    let mut stream = proxy.client().await;
    stream.get("/gone").await;
    stream.head().await;
    assert_eq!(stream.text().await, "data: a\n\n");
    proxy.rewrite("[upstreams.gone]", "[upstreams.other]");
    proxy.rewrite("[routes.gone]", "[routes.other]");
    proxy.rewrite("upstream = \"gone\"", "respond.body = \"other\"");
    reloads(&proxy).await;
    assert_eq!(ask(&proxy, "/").await, "ok");
    assert_eq!(proxy.metric(&["streams_active", "route=\"gone\"", "kind=\"sse\""]).await, 1.0);
    let (_, page) = proxy.admin("/metrics").await;
    let has = |page: &str, family: &str, what: &str| {
        page.lines()
            .any(|line| line.starts_with(&format!("longwire_{family}")) && line.contains(what))
    };
    assert!(!has(&page, "upstream_endpoint_up", "\"gone\""), "what is taken away is not down");
    assert!(has(&page, "upstream_endpoint_up", "\"other\""));
    word.notify_one();
    assert_eq!(stream.text().await, "data: b\n\n");
    assert!(stream.chunk().await.unwrap().is_empty());
    until("nothing of it is on the page", async || {
        !proxy.admin("/metrics").await.1.contains("\"gone\"")
    })
    .await;
    until("no connection is kept", async || old.open() == 0).await;
}

#[tokio::test]
async fn listeners_come_and_go_and_their_streams_stay() {
    let (upstream, word) = two_words().await;
    let mut proxy = Proxy::to(upstream.address)
        .tables("[listeners.more]\nbind = [\"127.0.0.2:0\"]\n[routes.here]\npaths = [\"/here\"]\nrespond.body = \"here\"")
        .start()
        .await;
    let more = proxy.listens("more")[0].parse().unwrap();
    let mut stream = Client::connect(more).await;
    stream.get("/").await;
    stream.head().await;
    assert_eq!(stream.text().await, "data: a\n\n");
    let mut idle = Client::connect(more).await;
    idle.get("/here").await;
    assert_eq!(idle.response().await.text(), "here");

    // Another name for the same socket, and another socket.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let socket = format!("unix:{}", path.display());
    proxy.rewrite("[listeners.more]", "[listeners.renamed]");
    proxy.rewrite("\"127.0.0.2:0\"", &format!("\"127.0.0.2:0\", \"{socket}\""));
    reloads(&proxy).await;
    until("it says so", async || proxy.listens("renamed").len() == 2).await;
    assert_eq!(proxy.listens("renamed"), [more.to_string(), socket], "the same socket");
    assert!(!idle.ends().await, "its listener is gone");
    let mut late = Client::connect(more).await;
    late.get("/here").await;
    assert_eq!(late.response().await.text(), "here");
    let curl = std::process::Command::new("curl")
        .args(["-s", "--unix-socket", path.to_str().unwrap(), "http://a/here"])
        .output();
    assert_eq!(text(&curl.unwrap().stdout), "here");

    proxy.rewrite(
        "[listeners.renamed]\nbind = [\"127.0.0.2:0\"",
        "[listeners.renamed]\nbind = [\"127.0.0.3:0\"",
    );
    reloads(&proxy).await;
    until("the old address is closed", async || TcpStream::connect(more).await.is_err()).await;
    word.notify_one();
    assert_eq!(stream.text().await, "data: b\n\n", "its listener is long gone");
    assert!(stream.chunk().await.unwrap().is_empty());
    // An address that cannot be had is named, and changes nothing.
    proxy.rewrite("\"127.0.0.3:0\"", &format!("\"127.0.0.3:0\", \"{}\"", upstream.address));
    let (status, error) = proxy.reload().await;
    assert_eq!(status, 422);
    assert!(error.contains(&format!("cannot listen on {}", upstream.address)), "{error}");
    assert_eq!(ask(&proxy, "/here").await, "here");
    proxy.signal("TERM");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert!(!path.exists(), "the socket's file goes with the process");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_until_there_is_one() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    proxy.rewrite("workers = 2", "workers = 1\nmax_connections = 77");
    for _ in 0..2 {
        let reloaded = reloads(&proxy).await;
        assert_eq!(reloaded["needs_restart"], json!(["server.workers", "server.max_connections"]));
    }
    let named = proxy.logged("changed, which needs a restart or an upgrade", 4).await;
    assert_eq!(named[0]["key"], "server.workers");
    proxy.rewrite("workers = 1\nmax_connections = 77", "workers = 2");
    assert_eq!(reloads(&proxy).await["needs_restart"], json!([]));
}

#[tokio::test]
async fn limits_remember_what_counts_towards_them() {
    let (upstream, _word) = two_words().await;
    let rate = "{ rate = 0.001, burst = 2, key = \"ip\" }";
    let proxy = Proxy::to(upstream.address)
        .route("limits.streams = 2")
        .tables(&format!(
            "[routes.rated]\npaths = [\"/rated\"]\nupstream = \"up\"\n\
             limits.requests_per_second = {rate}"
        ))
        .start()
        .await;
    let mut streams = Vec::new();
    for path in ["/", "/", "/rated", "/rated"] {
        let mut client = proxy.client().await;
        client.get(path).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        streams.push(client);
    }
    let refused = async |path: &str| {
        let mut client = proxy.client().await;
        client.get(path).await;
        client.response().await.status
    };
    assert_eq!((refused("/").await, refused("/rated").await), (503, 429));
    proxy.rewrite("paths = [\"/rated\"]", "paths = [\"/rated\"]\ntimeouts.idle = \"7m\"");
    reloads(&proxy).await;
    assert_eq!((refused("/").await, refused("/rated").await), (503, 429), "nothing is forgotten");
    proxy.rewrite("limits.streams = 2", "limits.streams = 3");
    reloads(&proxy).await;
    let mut third = proxy.client().await;
    third.get("/").await;
    assert!(third.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(refused("/").await, 503, "those from before count");
}

#[tokio::test]
async fn a_watched_file_is_noticed_however_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    // As a ConfigMap is mounted: a link to a link to a folder, which is swapped.
    let at = |name: &str| folder.path().join(name);
    let edition = |name: &str, body: &str| {
        std::fs::create_dir(at(name)).unwrap();
        let text = format!(
            "[server]\nwatch = \"50ms\"\n[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
             [routes.all]\nrespond.body = \"${{file:{}}}\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n",
            at("secret").display()
        );
        std::fs::write(at(name).join("longwire.toml"), text + body).unwrap();
    };
    std::fs::write(at("secret"), "one").unwrap();
    edition("v1", "");
    edition("v2", "[routes.two]\npaths = [\"/two\"]\nrespond.body = \"two\"\n");
    edition("v3", "nonsense");
    symlink("v1", at("data")).unwrap();
    symlink("data/longwire.toml", at("longwire.toml")).unwrap();
    let proxy = Proxy::with_file(&at("longwire.toml")).await;
    let swap = |to: &str| {
        symlink(to, at("new")).unwrap();
        std::fs::rename(at("new"), at("data")).unwrap();
    };
    assert_eq!(ask(&proxy, "/two").await, "one");
    swap("v2");
    until("the link's new aim is read", async || ask(&proxy, "/two").await == "two").await;
    std::fs::write(at("secret"), "three").unwrap();
    until("a secret's change is read", async || ask(&proxy, "/").await == "three").await;
    swap("v3");
    proxy.logged("configuration stays as it was", 1).await;
    swap("v1");
    until("it is read again", async || ask(&proxy, "/two").await == "three").await;
    assert_eq!(proxy.metric(&["config_last_reload_successful"]).await, 1.0);
    // What can be read and cannot be used is told once, too, and so is its end.
    edition("v4", "[listeners.b]\nbind = [\"unix:/nonexistent/b.sock\"]\n");
    swap("v4");
    proxy.logged("configuration stays as it was", 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    swap("v1");
    proxy.metric_becomes(&["config_last_reload_successful"], 1.0).await;
    let told = proxy.log("configuration stays as it was").len();
    assert_eq!(told, 2, "each mistake is told once");
    assert_eq!(proxy.metric(&["config_reloads_total{result=\"failed\"}"]).await, 2.0);
}

#[tokio::test]
async fn connections_to_an_upstream_that_is_gone_are_closed_and_its_name_can_come_back() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    assert_eq!(ask(&proxy, "/").await, "ok");
    proxy.metric_becomes(&["upstream_connections{", "idle"], 1.0).await;
    proxy.rewrite("upstream = \"up\"", "respond.body = \"here\"");
    proxy.rewrite("[upstreams.up]", "[upstreams.other]");
    reloads(&proxy).await;
    until("its idle connection is closed", async || upstream.open() == 0).await;
    proxy.rewrite("[upstreams.other]", "[upstreams.up]");
    proxy.rewrite("respond.body = \"here\"", "upstream = \"up\"");
    reloads(&proxy).await;
    assert_eq!(ask(&proxy, "/").await, "ok");
    proxy.metric_becomes(&["upstream_connections{", "idle", "upstream=\"up\""], 1.0).await;
}

#[tokio::test]
async fn another_token_holds_for_operators_that_are_there_already() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).start().await;
    let mut operator = Client::connect(proxy.admin).await;
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    operator.send(ask).await;
    assert_eq!(operator.response().await.status, 200);
    // The same rules again disturb nobody.
    reloads(&proxy).await;
    operator.send(ask).await;
    assert_eq!(operator.response().await.status, 200);
    proxy.rewrite("[admin]", "[admin]\ntoken = \"s3cret\"");
    reloads(&proxy).await;
    assert!(!operator.ends().await, "its connection ends");
    assert_eq!(proxy.admin("/metrics").await.0, 401);
}

/// Nobody would ever say that they are well.
#[tokio::test]
async fn endpoints_that_checks_took_down_are_back_when_nobody_checks() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let active = "health.active = { path = \"/\", interval = \"50ms\", expect_status = [\"204\"], \
                  unhealthy_after = 1 }";
    let proxy = Proxy::to(upstream.address).upstream(active).start().await;
    proxy.metric_becomes(&["upstream_endpoint_up"], 0.0).await;
    proxy.rewrite(active, "");
    reloads(&proxy).await;
    assert_eq!(proxy.metric(&["upstream_endpoint_up"]).await, 1.0);
    assert_eq!(ask(&proxy, "/").await, "ok");
}

#[tokio::test]
async fn the_command_line_asks_too() {
    let upstream = Upstream::answering(OK).await;
    let mut proxy = Proxy::to(upstream.address).start().await;
    // The port was chosen by the system, so the file does not have it.
    let admin = proxy.admin.to_string();
    let ask = |command: &str| longwire(&[command, "--admin", &admin]);
    let output = ask("reload");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"reloaded\":true"));
    let good = std::fs::read_to_string(proxy.config()).unwrap();
    proxy.rewrite("upstream = \"up\"", "upstream = \"nowhere\"");
    let output = ask("reload");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("nowhere"), "{}", text(&output.stderr));
    // A file that is wrong is not even asked about.
    let output = longwire(&["reload", "-c", proxy.config().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let named =
        good.replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\nbind = \"{admin}\""));
    std::fs::write(proxy.config(), named).unwrap();
    let output = longwire(&["drain", "-c", proxy.config().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"draining\":true"));
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.log("draining")[0]["asked"], "POST /-/drain");
    let output = ask("reload");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nobody answers at the admin address"));
}

#[tokio::test]
async fn an_endpoint_is_taken_out_and_put_back() {
    let (first, word) = two_words().await;
    let second = Upstream::answering(OK).await;
    let proxy = Proxy::to_endpoints(&format!(
        "{{ url = \"http://{}\", name = \"first\" }}, {{ url = \"http://{}\", name = \"second\" }}",
        first.address, second.address
    ))
    .upstream("balance = \"round_robin\"")
    .start()
    .await;
    let mut stream = proxy.client().await;
    stream.get("/").await;
    stream.head().await;
    assert_eq!(stream.text().await, "data: a\n\n");
    let set = async |what: &str| {
        let path = format!("/api/upstreams/up/endpoints/first/{what}");
        let (status, body) = proxy.ask_admin("POST", &path).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let drained = set("drain").await;
    assert_eq!((&drained["state"], &drained["open"]), (&json!("drained"), &json!(1)));
    let up = ["upstream_endpoint_up", "endpoint=\"first\""];
    assert_eq!(proxy.metric(&up).await, 0.0);
    for _ in 0..4 {
        assert_eq!(ask(&proxy, "/").await, "ok");
    }
    // An operator's word outlives a reload.
    proxy.rewrite("balance = \"round_robin\"", "balance = \"random\"");
    reloads(&proxy).await;
    for _ in 0..8 {
        assert_eq!(ask(&proxy, "/").await, "ok");
    }
    word.notify_one();
    assert_eq!(stream.text().await, "data: b\n\n", "what is open there runs on");
    until("its idle connections are closed", async || first.open() == 0).await;
    assert_eq!(set("ready").await["state"], "ready");
    assert_eq!(proxy.metric(&up).await, 1.0);
    until("it is picked again", async || {
        let mut client = proxy.client().await;
        client.get("/").await;
        client.head().await.contains("text/event-stream")
    })
    .await;
    set("drain").await;
    proxy.rewrite(&first.address.to_string(), &second.address.to_string());
    reloads(&proxy).await;
    assert_eq!(proxy.metric(&up).await, 0.0, "it holds for the name, wherever it is now");
    let (status, body) = proxy.ask_admin("POST", "/api/upstreams/up/endpoints/third/drain").await;
    assert_eq!(status, 404);
    assert!(body.contains("there is no endpoint \\\"third\\\""), "{body}");
}

#[tokio::test]
async fn files_that_the_configuration_names_are_read_again() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.sign("web", &["localhost"]);
    let proxy = Proxy::to_endpoints("\"http://127.0.0.1:1\"")
        .tables(&format!(
            "[routes.here]\npaths = [\"/here\"]\nrespond.body = \"here\"\n\
             [listeners.tls]\nbind = [\"127.0.0.1:0\"]\n\
             tls = {{ certificates = [{pair}], reload = \"off\" }}"
        ))
        .start()
        .await;
    let address = proxy.listens("tls")[0].clone();
    let port = address.rsplit(':').next().unwrap();
    let trusts = |by: &Authority| {
        let curl = std::process::Command::new("curl")
            .args(["-s", "--cacert", &by.path("ca.pem"), &format!("https://localhost:{port}/here")])
            .output();
        text(&curl.unwrap().stdout) == "here"
    };
    assert!(trusts(&authority) && !trusts(&other));
    other.sign("web", &["localhost"]);
    for file in ["web.crt", "web.key"] {
        std::fs::copy(other.file(file), authority.file(file)).unwrap();
    }
    assert!(trusts(&authority), "nobody has looked");
    reloads(&proxy).await;
    assert!(trusts(&other) && !trusts(&authority));
    std::fs::write(authority.file("web.key"), "no key").unwrap();
    let (status, error) = proxy.reload().await;
    assert_eq!(status, 422);
    assert!(error.contains("listeners.tls.tls") && error.contains("web.key"), "{error}");
    assert!(trusts(&other));
}
