use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::sync::Notify;

use crate::cli::{longwire, text};
use crate::harness::{Client, Peer, Proxy, Response, Upstream, soon, taken, until};
use crate::websocket::{AGREE, ASK};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// SHA-256 of `key-1` and of `key-2`, as sha256sum prints them.
const KEYS: &str = "type = \"api_key\"\nkeys = [\n\
    { name = \"web\", sha256 = \"be2974546978e3739e6d6da85c4be9f334ce32df2b9fd4b6ff1b55c0d57e9d44\" },\n\
    { name = \"batch\", sha256 = \"7c36b0a9dedde119c75165957c6c9c187e65df1ee5db87c4c58ad503ad88cbe3\" } ]\n";

async fn ask(client: &mut Client, path: &str, fields: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).await;
    client.response().await
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// How often requests to the route `all` were not let in for that reason.
async fn failures(proxy: &Proxy, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    proxy.metric(&["longwire_auth_failures_total", "route=\"all\"", &reason]).await
}

fn auth(lines: &str) -> String {
    format!("[routes.all.auth]\n{lines}")
}

// === Keys ===

#[tokio::test]
async fn a_key_lets_in_by_its_name_and_goes_no_further() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).route(&auth(KEYS)).start().await;
    let mut client = proxy.client().await;
    for (fields, name) in
        [("Authorization: Bearer key-1\r\n", "web"), ("authorization: bearer key-2\r\n", "batch")]
    {
        assert_eq!(ask(&mut client, "/", fields).await.text(), "ok");
        let ends = proxy.logged("end", 1).await;
        until("its end is logged", || async {
            proxy.log("end").last().is_some_and(|end| end["principal"] == name)
        })
        .await;
        assert!(ends.iter().all(|end| !end.to_string().contains("key-")), "{ends:?}");
    }
    for request in upstream.requests() {
        assert!(!request.to_ascii_lowercase().contains("authorization"), "{request}");
    }
}

#[tokio::test]
async fn without_a_good_key_the_connection_lives_on_and_the_upstream_hears_nothing() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).route(&auth(KEYS)).start().await;
    let mut client = proxy.client().await;
    let plain = "Bearer realm=\"longwire\"";
    for (fields, kind, challenge) in [
        ("", "unauthorized", plain),
        ("Authorization: Basic a2V5LTE=\r\n", "unauthorized", plain),
        ("X-Api-Key: key-1\r\n", "unauthorized", plain),
        (
            "Authorization: Bearer key-3\r\n",
            "invalid_credentials",
            "Bearer realm=\"longwire\", error=\"invalid_token\", \
             error_description=\"it is not known\"",
        ),
        (
            "Authorization: Bearer key-1\r\nAuthorization: Bearer key-1\r\n",
            "invalid_credentials",
            "Bearer realm=\"longwire\", error=\"invalid_token\", \
             error_description=\"there are two of them\"",
        ),
    ] {
        let response = ask(&mut client, "/?key=key-1", fields).await;
        assert_eq!((response.status, response.error()), (401, (kind.to_owned(), 401)));
        assert_eq!(response.field("www-authenticate"), Some(challenge));
        assert_eq!(response.field("connection"), None);
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!((failures(&proxy, "missing").await, failures(&proxy, "invalid").await), (3.0, 2.0));
    assert_eq!(ask(&mut client, "/", &bearer("key-1")).await.status, 200, "on the same connection");
    let refused = proxy.sum(&["longwire_requests_total", "code=\"401\""]).await;
    assert_eq!(refused, 5.0);
}

#[tokio::test]
async fn another_field_has_the_bare_key_and_may_be_passed_on() {
    let upstream = Upstream::answering(OK).await;
    let lines = auth(&format!("{KEYS}header = \"X-Api-Key\"\npass = true"));
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/", &bearer("key-1")).await.status, 401);
    assert_eq!(ask(&mut client, "/", "x-api-key: key-1\r\n").await.status, 200);
    assert!(upstream.requests()[0].contains("x-api-key: key-1\r\n"));
}

#[tokio::test]
async fn the_upstreams_own_key_takes_the_place_of_the_clients() {
    let upstream = Upstream::answering(OK).await;
    let lines =
        format!("headers.request_set = {{ Authorization = \"Bearer its-own\" }}\n{}", auth(KEYS));
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    assert_eq!(ask(&mut proxy.client().await, "/", &bearer("key-1")).await.status, 200);
    let request = &upstream.requests()[0];
    assert!(request.contains("Authorization: Bearer its-own\r\n"), "{request}");
    assert!(!request.contains("key-1"), "{request}");
}

#[tokio::test]
async fn a_long_body_that_was_not_read_ends_the_connection() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address).route(&auth(KEYS)).start().await;
    let mut client = proxy.client().await;
    client.post("/", b"0123456789").await;
    let response = client.response().await;
    assert_eq!((response.status, response.field("connection")), (401, None), "a short one is read");
    client.post("/", &[0; 100_000]).await;
    let response = client.response().await;
    assert_eq!((response.status, response.field("connection")), (401, Some("close")));
}

// === Tokens ===

struct Tokens {
    folder: tempfile::TempDir,
    tokens: Value,
}

impl Tokens {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let tokens = Peer::run(&["python", "tokens/make.py", path]).await;
        Self { folder, tokens }
    }

    fn get(&self, name: &str) -> String {
        bearer(self.tokens[name].as_str().unwrap_or_else(|| panic!("there is no {name:?}")))
    }

    /// The lines of `auth` with that file.
    fn auth(&self, algorithms: &str, key: &str, file: &str) -> String {
        let file = self.folder.path().join(file);
        auth(&format!(
            "type = \"jwt\"\nalgorithms = {algorithms}\n{key} = \"{}\"\naudience = \"chat\"\n\
             issuer = \"login\"\n",
            file.display()
        ))
    }
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_verified() {
    let tokens = Tokens::new().await;
    let upstream = Upstream::answering(OK).await;
    let public = "[\"RS256\", \"ES256\", \"EdDSA\"]";
    for (algorithms, key, file, good) in [
        ("[\"RS256\"]", "key_file", "RS256.pem", &["RS256"][..]),
        ("[\"ES256\"]", "key_file", "ES256.pem", &["ES256"]),
        ("[\"EdDSA\"]", "key_file", "EdDSA.pem", &["EdDSA"]),
        ("[\"HS256\"]", "key_file", "HS256.secret", &["HS256"]),
        (public, "jwks_file", "keys.json", &["RS256", "ES256", "EdDSA"]),
        ("[\"ES256\"]", "jwks_file", "keys.json", &["ES256"]),
    ] {
        let lines = tokens.auth(algorithms, key, file);
        let proxy = Proxy::to(upstream.address).route(&lines).start().await;
        let mut client = proxy.client().await;
        for name in ["RS256", "ES256", "EdDSA", "HS256"] {
            let status = ask(&mut client, "/", &tokens.get(name)).await.status;
            let expected = if good.contains(&name) { 200 } else { 401 };
            assert_eq!(status, expected, "{name} with {algorithms} of {file}");
        }
        for end in proxy.logged("end", 4).await {
            let principal = if end["status"] == 200 { Value::from("eve") } else { Value::Null };
            assert_eq!(end["principal"], principal, "{end}");
        }
    }
    let request = &upstream.requests()[0];
    assert!(request.contains("Authorization: Bearer ey"), "it is passed on: {request}");
}

#[tokio::test]
async fn a_token_that_is_not_as_it_should_be_is_refused() {
    let tokens = Tokens::new().await;
    let upstream = Upstream::answering(OK).await;
    let of_key = tokens.auth("[\"RS256\"]", "key_file", "RS256.pem");
    let of_set = tokens.auth("[\"RS256\"]", "jwks_file", "keys.json");
    for lines in [&of_key, &of_set] {
        let proxy = Proxy::to(upstream.address).route(lines).start().await;
        let mut client = proxy.client().await;
        for (name, status, why) in [
            ("RS256", 200, ""),
            ("late", 200, ""),
            ("list", 200, ""),
            ("nameless", 200, ""),
            ("none", 401, "malformed"),
            ("confused", 401, "signature"),
            ("other key", 401, "signature"),
            ("other algorithm", 401, "signature"),
            ("unsigned", 401, "signature"),
            ("other claims", 401, "signature"),
            ("critical", 401, "critical"),
            ("expired", 401, "expired"),
            ("no exp", 401, "no exp"),
            ("not yet", 401, "not valid yet"),
            ("other audience", 401, "audience"),
            ("other issuer", 401, "issuer"),
        ] {
            let response = ask(&mut client, "/", &tokens.get(name)).await;
            assert_eq!(response.status, status, "{name}: {}", response.text());
            let challenge = response.field("www-authenticate").unwrap_or_default();
            let is_told = challenge.contains("error=\"invalid_token\"") == (status == 401);
            assert!(is_told && challenge.contains(why), "{name}: {challenge}");
        }
        for broken in ["x", "a.b", "a.b.c", "....", "é.é.é"] {
            let response = ask(&mut client, "/", &bearer(broken)).await;
            assert_eq!(response.status, 401, "{broken}");
        }
        let counts = ["missing", "invalid", "expired"].map(|reason| failures(&proxy, reason));
        let [missing, invalid, expired] = counts;
        assert_eq!((missing.await, invalid.await, expired.await), (0.0, 16.0, 1.0));
        let expected = if lines == &of_key { 200 } else { 401 };
        let unknown = ask(&mut client, "/", &tokens.get("unknown kid")).await;
        assert_eq!(unknown.status, expected, "a key of its own has no kid");
    }
}

#[tokio::test]
async fn check_names_the_key_file_and_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let config = folder.path().join("longwire.toml");
    for (content, part) in [
        (None, "No such file"),
        (Some("-----BEGIN PRIVATE KEY-----\nhidden\n"), "a private key, which must not be here"),
        (Some("hidden"), "no public key in PEM for RS256"),
    ] {
        if let Some(content) = content {
            std::fs::write(&key, content).unwrap();
        }
        let text_of_config = format!(
            "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.all]\nupstream = \"http://a\"\n\
             auth = {{ type = \"jwt\", algorithms = [\"RS256\"], key_file = {key:?} }}\n"
        );
        std::fs::write(&config, text_of_config).unwrap();
        let output = longwire(&["check", "-c", config.to_str().unwrap()]);
        let said = text(&output.stderr);
        let names = said.contains("routes.all.auth: ") && said.contains(key.to_str().unwrap());
        assert!(names && said.contains(part) && !said.contains("hidden"), "{said}");
        assert_eq!(output.status.code(), Some(78));
    }
}

// === Another server ===

/// A server that decides: it answers as the credentials say, once the word is given if there is one.
async fn decider(word: Option<Arc<Notify>>) -> Upstream {
    Upstream::serve(move |mut conversation| {
        let word = word.clone();
        async move {
            while let Some(request) = conversation.try_request().await {
                if let Some(word) = &word {
                    word.notified().await;
                }
                let answer = match request.split("Bearer ").nth(1).map(|rest| &rest[..1]) {
                    Some("e") => "200 OK\r\nX-Auth-User: eve\r\nContent-Length: 4\r\n\r\nbody",
                    Some("f") => "403 Forbidden\r\nContent-Length: 0\r\n\r\n",
                    Some("r") => "302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
                    Some("s") => "100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
                    _ => {
                        "401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
                    }
                };
                conversation.write(format!("HTTP/1.1 {answer}")).await;
            }
        }
    })
    .await
}

fn forward(decider: &Upstream, more: &str) -> String {
    let url = format!("http://{}/check?x", decider.address);
    auth(&format!("type = \"forward\"\nurl = \"{url}\"\n{more}"))
}

#[tokio::test]
async fn another_servers_word_counts() {
    let (upstream, decider) = (Upstream::answering(OK).await, decider(None).await);
    let lines = forward(&decider, "cache = \"off\"");
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    let mut client = proxy.client().await;
    let unclear = ("auth_unavailable".to_owned(), 503);
    assert_eq!(ask(&mut client, "/a?b", &bearer("eve")).await.text(), "ok");
    assert_eq!(proxy.logged("end", 1).await[0]["principal"], "eve");
    assert_eq!(ask(&mut client, "/", &bearer("s")).await.text(), "ok", "without a name");
    assert_eq!(ask(&mut client, "/", &bearer("f")).await.error(), ("forbidden".to_owned(), 403));
    assert_eq!(ask(&mut client, "/", &bearer("r")).await.error(), unclear, "a redirect is no yes");
    let response = ask(&mut client, "/", "X-Other: 1\r\n").await;
    assert_eq!(response.error(), ("unauthorized".to_owned(), 401));
    assert_eq!(response.field("www-authenticate"), Some("Basic realm=\"x\""));
    for (reason, count) in [("missing", 1.0), ("forbidden", 1.0), ("unavailable", 1.0)] {
        assert_eq!(failures(&proxy, reason).await, count, "{reason}");
    }

    let questions = decider.requests();
    assert_eq!((questions.len(), decider.connections()), (5, 1), "one connection for all");
    let first = format!(
        "GET /check?x HTTP/1.1\r\nHost: {}\r\nUser-Agent: longwire-auth\r\n\
         X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: test\r\n\
         X-Forwarded-Uri: /a?b\r\nX-Forwarded-For: 127.0.0.1\r\nauthorization: Bearer eve\r\n\r\n",
        decider.address
    );
    assert_eq!(questions[0], first);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_hundred_who_ask_the_same_share_one_question() {
    let word = Arc::new(Notify::new());
    let (upstream, decider) = (Upstream::answering(OK).await, decider(Some(word.clone())).await);
    let proxy = Proxy::to(upstream.address).route(&forward(&decider, "timeout = \"30s\"")).start();
    let proxy = proxy.await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", bearer("eve"))).await;
        clients.push(client);
    }
    until("the question is put", || async { decider.requests().len() == 1 }).await;
    for client in &clients {
        taken(&client.stream).await;
    }
    // The one who made the proxy ask leaves; the others still want to know.
    drop(clients.remove(0));
    word.notify_one();
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(ask(&mut clients[0], "/", &bearer("eve")).await.status, 200, "it is remembered");
    assert_eq!(decider.requests().len(), 1, "questions for a hundred requests");
    word.notify_one();
    assert_eq!(ask(&mut clients[0], "/other", &bearer("eve")).await.status, 200);
    word.notify_one();
    assert_eq!(ask(&mut clients[0], "/", &bearer("f")).await.status, 403);
    assert_eq!(ask(&mut clients[0], "/", &bearer("f")).await.status, 403, "a no, too");
    assert_eq!(decider.requests().len(), 3, "another path and another key are other questions");
}

#[tokio::test]
async fn a_question_is_given_up_when_its_last_client_has_left() {
    for cache in ["10s", "off"] {
        let upstream = Upstream::answering(OK).await;
        let decider = Upstream::serve(|mut conversation| async move {
            conversation.request().await;
            conversation.hold().await;
        })
        .await;
        let lines = forward(&decider, &format!("timeout = \"30s\"\ncache = \"{cache}\""));
        let proxy = Proxy::to(upstream.address).route(&lines).start().await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = proxy.client().await;
            client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf").await;
            clients.push(client);
        }
        let questions = if cache == "off" { 2 } else { 1 };
        until("it is asked", || async { decider.requests().len() == questions }).await;
        for client in &clients {
            taken(&client.stream).await;
        }
        clients.pop();
        let end = proxy.logged("end", 1).await.remove(0);
        assert_eq!((&end["status"], &end["reason"]), (&499.into(), &"client_closed".into()));
        assert_eq!(decider.open(), 1, "somebody still wants to know");
        clients.pop();
        proxy.logged("end", 2).await;
        until("the question is given up", || async { decider.open() == 0 }).await;
        assert_eq!((decider.connections(), upstream.connections()), (questions, 0), "{cache}");
        let sum = proxy.sum(&["longwire_auth_failures_total"]).await;
        assert_eq!(sum, 0.0, "nobody was refused");
    }
}

#[tokio::test]
async fn what_comes_while_the_question_is_out_is_not_lost() {
    let word = Arc::new(Notify::new());
    let (upstream, decider) = (Upstream::answering(OK).await, decider(Some(word.clone())).await);
    let proxy = Proxy::to(upstream.address).route(&forward(&decider, "timeout = \"30s\"")).start();
    let proxy = proxy.await;
    let mut client = proxy.client().await;
    let head = format!("POST / HTTP/1.1\r\nHost: test\r\n{}", bearer("eve"));
    client.send(format!("{head}Content-Length: 9\r\n\r\n")).await;
    until("the question is put", || async { decider.requests().len() == 1 }).await;
    client.send(format!("some body{head}Content-Length: 4\r\n\r\nnext")).await;
    taken(&client.stream).await;
    word.notify_one();
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.response().await.status, 200, "it is remembered");
    let ends: Vec<_> =
        upstream.requests().iter().map(|request| request[request.len() - 4..].to_owned()).collect();
    assert_eq!(ends, ["body", "next"]);
}

#[tokio::test]
async fn so_many_questions_are_under_way_at_once_and_the_others_wait_for_their_turn() {
    const MOST: usize = 256;
    let word = Arc::new(Notify::new());
    let (upstream, decider) = (Upstream::answering(OK).await, decider(Some(word.clone())).await);
    let free = "[routes.free]\nupstream = \"up\"\npaths = [\"/free\"]";
    let lines = forward(&decider, "timeout = \"30s\"\ncache = \"off\"");
    let proxy = Proxy::to(upstream.address).route(&format!("paths = [\"/\"]\n{lines}"));
    let proxy = proxy.tables(free).start().await;
    let mut clients = Vec::new();
    for _ in 0..MOST + 40 {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", bearer("eve"))).await;
        taken(&client.stream).await;
        clients.push(client);
    }
    until("as many as may be asked", || async { decider.requests().len() >= MOST }).await;
    assert_eq!(ask(&mut proxy.client().await, "/free", "").await.status, 200, "a moment passes");
    assert_eq!(decider.requests().len(), MOST);
    for number in 0..clients.len() {
        // Each has its own connection to wait on.
        until("one more waits", || async { decider.requests().len() > number }).await;
        word.notify_one();
    }
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
}

#[tokio::test]
async fn a_client_cannot_say_in_the_servers_place_who_it_is() {
    let (upstream, decider) = (Upstream::answering(OK).await, decider(None).await);
    let proxy = Proxy::to(upstream.address).route(&forward(&decider, "")).start().await;
    let mut client = proxy.client().await;
    let forged = "X-Auth-User: root\r\nx_auth_user: root\r\nX-Auth_User: root\r\nX-Other: 1\r\n";
    let fields = format!("{}{forged}", bearer("eve"));
    assert_eq!(ask(&mut client, "/", &fields).await.status, 200);
    let request = upstream.requests().remove(0);
    assert!(!request.contains("root"), "{request}");
    assert!(request.contains("X-Other: 1\r\n") && request.contains("Bearer eve"), "{request}");
}

#[tokio::test]
async fn an_answer_holds_only_for_its_time() {
    let (upstream, decider) = (Upstream::answering(OK).await, decider(None).await);
    let lines = forward(&decider, "cache = \"300ms\"");
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    let mut client = proxy.client().await;
    let started = std::time::Instant::now();
    soon("the question to be put again", async {
        while decider.requests().len() < 2 {
            assert_eq!(ask(&mut client, "/", &bearer("eve")).await.status, 200);
        }
    })
    .await;
    assert!(started.elapsed().as_millis() >= 300, "after {:?}", started.elapsed());
    assert!(upstream.requests().len() > 3, "and was not put for each request");
}

#[tokio::test]
async fn nobody_comes_in_when_nobody_decides() {
    let upstream = Upstream::answering(OK).await;
    let silent = Upstream::serve(|mut conversation| async move { conversation.hold().await }).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let garbage = Upstream::answering("200 OK\r\n\r\n").await;
    for decider in [silent.address, gone, garbage.address] {
        let lines =
            auth(&format!("type = \"forward\"\nurl = \"http://{decider}\"\ntimeout = \"300ms\""));
        let proxy = Proxy::to(upstream.address).route(&lines).start().await;
        let mut client = proxy.client().await;
        for _ in 0..2 {
            let response = ask(&mut client, "/", &bearer("eve")).await;
            assert_eq!(response.error(), ("auth_unavailable".to_owned(), 503));
            assert_eq!(response.field("retry-after"), Some("1"));
        }
        assert_eq!(failures(&proxy, "unavailable").await, 2.0);
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_question_is_put_again_when_its_connection_was_closed_while_idle() {
    let upstream = Upstream::answering(OK).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // Each connection has one answer; the next question on it meets the end.
    let decider = Upstream::serve(move |mut conversation| {
        let count = Arc::clone(&count);
        async move {
            conversation.request().await;
            count.fetch_add(1, Ordering::SeqCst);
            conversation.write("HTTP/1.1 204 No Content\r\n\r\n").await;
            conversation.try_request().await;
        }
    })
    .await;
    let lines = forward(&decider, "cache = \"off\"");
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/", &bearer("eve")).await.status, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

// === Order ===

#[tokio::test]
async fn a_websocket_is_asked_for_its_address_then_its_key_then_its_origin() {
    let upstream = Upstream::serve(|mut conversation| async move {
        conversation.request().await;
        conversation.write(AGREE).await;
        conversation.hold().await;
    })
    .await;
    let lines = format!("access.deny = [\"127.0.0.9\"]\n{}", auth(KEYS));
    let proxy = Proxy::to(upstream.address).route(&lines).start().await;
    let foreign = "Origin: http://evil.test\r\n";
    let with = |fields: &str| ASK.replacen("\r\n", &format!("\r\n{fields}"), 1);
    for (source, fields, kind) in [
        ([127, 0, 0, 9], foreign.to_owned(), "address_not_allowed"),
        ([127, 0, 0, 1], foreign.to_owned(), "unauthorized"),
        ([127, 0, 0, 1], format!("{foreign}{}", bearer("key-1")), "origin_not_allowed"),
    ] {
        let mut client = Client::connect_from(source, proxy.address).await;
        client.send(with(&fields)).await;
        assert_eq!(client.response().await.error().0, kind);
    }
    assert_eq!(upstream.connections(), 0);
    let mut client = proxy.client().await;
    client.send(with(&bearer("key-1"))).await;
    let head = soon("the handshake", client.head()).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[tokio::test]
async fn addresses_are_those_that_trusted_proxies_tell() {
    let upstream = Upstream::answering(OK).await;
    let proxy = Proxy::to(upstream.address)
        .server("workers = 2\ntrusted_proxies = [\"127.0.0.2\"]")
        .route("access.allow = [\"10.0.0.0/8\", \"127.0.0.3\"]\naccess.deny = [\"10.0.0.7\"]")
        .start()
        .await;
    for (source, forwarded, status) in [
        ([127, 0, 0, 3], "", 200),
        ([127, 0, 0, 4], "", 403),
        ([127, 0, 0, 4], "X-Forwarded-For: 10.0.0.1\r\n", 403),
        ([127, 0, 0, 2], "X-Forwarded-For: 10.0.0.1\r\n", 200),
        ([127, 0, 0, 2], "X-Forwarded-For: 10.0.0.7\r\n", 403),
        ([127, 0, 0, 2], "X-Forwarded-For: 10.0.0.1, 192.0.2.1\r\n", 403),
        ([127, 0, 0, 2], "", 403),
    ] {
        let mut client = Client::connect_from(source, proxy.address).await;
        let response = ask(&mut client, "/", forwarded).await;
        assert_eq!(response.status, status, "{source:?} {forwarded}");
        if status == 403 {
            assert_eq!(response.error().0, "address_not_allowed");
        }
    }
}
