use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::Notify;

use crate::harness::{Authority, Peer, Proxy, ProxyBuilder, Upstream, soon, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A proxy with TLS; `certificates` are elements of that key, `more` further lines of `tls`.
fn with_tls(upstream: SocketAddr, certificates: &[String], more: &str) -> ProxyBuilder {
    let tls = format!("[listeners.web.tls]\ncertificates = [{}]\n{more}", certificates.join(", "));
    Proxy::to(upstream).listener(&tls)
}

/// What a program says, on both streams, and whether it succeeded.
async fn says(mut program: Command) -> (bool, String) {
    let output = soon("the program's end", program.output()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// `openssl s_client` with further arguments, which leaves after the handshake.
async fn openssl(proxy: &Proxy, authority: &Authority, arguments: &[&str]) -> (bool, String) {
    let (address, ca) = (proxy.address.to_string(), authority.path("ca.pem"));
    let base =
        ["openssl", "s_client", "-connect", &address, "-CAfile", &ca, "-verify_return_error"];
    says(Peer::program(&[&base[..], arguments].concat())).await
}

/// `curl https://a.example/…`, which is the proxy.
async fn curl(proxy: &Proxy, authority: &Authority, path: &str, more: &[&str]) -> (bool, String) {
    let port = proxy.address.port();
    let (ca, resolve) = (authority.path("ca.pem"), format!("a.example:{port}:127.0.0.1"));
    let url = format!("https://a.example:{port}{path}");
    let base = ["curl", "-sS", "-m", "10", "--cacert", &ca, "--resolve", &resolve, &url];
    says(Peer::program(&[&base[..], more].concat())).await
}

#[tokio::test]
async fn curl_speaks_both_protocols_and_the_upstream_hears_of_tls() {
    let upstream = Upstream::answering(OK).await;
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    let proxy = with_tls(upstream.address, &[files], "").start().await;
    for (option, version, via) in [("--http1.1", "1.1", "1.1"), ("--http2", "2", "2.0")] {
        let format = ["-w", " %{http_version}", option];
        let (_, said) = curl(&proxy, &authority, "/", &format).await;
        assert_eq!(said, format!("ok {version}"));
        let head = upstream.requests().last().unwrap().clone();
        assert!(head.contains("X-Forwarded-Proto: https\r\n"), "{head}");
        assert!(head.contains(&format!("Via: {via} longwire\r\n")), "{head}");
        assert!(head.contains(";proto=https;"), "{head}");
        let ends = proxy.logged("end", upstream.requests().len()).await;
        assert_eq!(ends.last().unwrap()["version"], via);
    }
    let accepted = proxy.metric(&["longwire_connections_accepted_total{"]).await;
    assert_eq!(accepted, 2.0);
}

#[tokio::test]
async fn old_versions_are_refused_and_names_choose_the_certificate() {
    let upstream = Upstream::answering(OK).await;
    let authority = Authority::new();
    let files = [authority.sign("a", &["a.example"]), authority.sign("wild", &["*.b.example"])];
    let proxy = with_tls(upstream.address, &files, "").start().await;
    let strict = with_tls(upstream.address, &files, "min_version = \"1.3\"").start().await;
    for (proxy, version, good) in [
        (&proxy, "-tls1_1", false),
        (&proxy, "-tls1_2", true),
        (&proxy, "-tls1_3", true),
        (&strict, "-tls1_2", false),
        (&strict, "-tls1_3", true),
    ] {
        let (done, said) = openssl(proxy, &authority, &[version]).await;
        assert_eq!(done, good, "{version}: {said}");
    }
    for (name, host, good) in [
        ("a.example", "a.example", true),
        ("x.b.example", "x.b.example", true),
        ("nobody.example", "a.example", true),
        ("nobody.example", "nobody.example", false),
    ] {
        let arguments = ["-servername", name, "-verify_hostname", host];
        let (done, said) = openssl(&proxy, &authority, &arguments).await;
        assert_eq!(done, good, "{name} as {host}: {said}");
    }
    let refused = proxy.metric(&["connections_refused_total", "reason=\"tls\""]).await;
    // The client refuses the other one.
    assert!(refused >= 1.0, "{refused}");
}

#[tokio::test]
async fn certificates_change_under_open_streams() {
    let renewed = Arc::new(Notify::new());
    let word = Arc::clone(&renewed);
    let upstream = Upstream::sse(move |mut upstream| {
        let word = Arc::clone(&word);
        async move {
            upstream.chunk("data: 1\n\n").await;
            soon("the new certificate", word.notified()).await;
            upstream.chunk("data: 2\n\n").await;
            upstream.last_chunk().await;
            upstream.hold().await;
        }
    })
    .await;
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    let proxy = with_tls(upstream.address, &[files], "reload = \"50ms\"").start().await;
    let shown = async || {
        let (_, said) = openssl(&proxy, &authority, &["-servername", "a.example"]).await;
        let begin = said.find("-----BEGIN").unwrap_or_else(|| panic!("no certificate: {said}"));
        said[begin..].split("-----END").next().unwrap().to_owned()
    };
    let before = shown().await;
    let streams: Vec<_> = ["--http1.1", "--http2"]
        .map(|option| {
            let port = proxy.address.port();
            let resolve = format!("a.example:{port}:127.0.0.1");
            let url = format!("https://a.example:{port}/");
            let ca = authority.path("ca.pem");
            let curl =
                ["curl", "-sSN", "-m", "20", "--cacert", &ca, "--resolve", &resolve, option, &url];
            let mut curl = Peer::program(&curl);
            curl.stdout(Stdio::piped()).stderr(Stdio::piped());
            curl.spawn().unwrap()
        })
        .into();
    proxy.logged("open", 2).await;

    // A key that is not the certificate's changes nothing.
    let key_file = authority.file("a.key");
    let good_key = std::fs::read(&key_file).unwrap();
    std::fs::write(&key_file, "nonsense").unwrap();
    let complaint = proxy.logged("certificates stay as they are", 1).await;
    assert!(complaint[0]["error"].as_str().unwrap().contains("a.key"), "{complaint:?}");
    assert_eq!(shown().await, before);
    std::fs::write(&key_file, good_key).unwrap();

    authority.sign("a", &["a.example"]);
    proxy.logged("certificates were renewed", 1).await;
    until("the new certificate is shown", async || shown().await != before).await;
    renewed.notify_waiters();
    for stream in streams {
        let output = soon("curl's end", stream.wait_with_output()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "data: 1\n\ndata: 2\n\n");
    }
    let ends = proxy.metric(&["tls_certificate_not_after_timestamp_seconds", "a.crt"]).await;
    assert!(ends > 1.0e9, "{ends}");
}

#[tokio::test]
async fn clients_show_their_certificates() {
    let upstream = Upstream::answering(OK).await;
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    authority.sign("client", &["client.example"]);
    let stranger = Authority::new();
    stranger.sign("client", &["client.example"]);
    let require =
        format!("client_auth = {{ mode = \"require\", ca = {:?} }}", authority.path("ca.pem"));
    let proxy = with_tls(upstream.address, &[files], &require).start().await;
    let pair = |authority: &Authority| [authority.path("client.crt"), authority.path("client.key")];
    let (ours, foreign) = (pair(&authority), pair(&stranger));
    let (done, _) = curl(&proxy, &authority, "/", &[]).await;
    assert!(!done, "without a certificate");
    let (done, said) =
        curl(&proxy, &authority, "/", &["--cert", &ours[0], "--key", &ours[1]]).await;
    assert!(done, "{said}");
    let (done, _) =
        curl(&proxy, &authority, "/", &["--cert", &foreign[0], "--key", &foreign[1]]).await;
    assert!(!done, "with somebody else's");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_let_go_in_time() {
    let upstream = Upstream::answering(OK).await;
    let authority = Authority::new();
    let files = authority.sign("a", &["a.example"]);
    let listener = format!("header_timeout = \"200ms\"\ntls.certificates = [{files}]");
    let proxy = Proxy::to(upstream.address).listener(&listener).start().await;
    let mut silent = proxy.client().await;
    let mut plain = proxy.client().await;
    plain.get("/").await;
    silent.ends().await;
    // An alert, or just the end: nothing that a client of HTTP would take for an answer.
    let answer = plain.read().await.unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    proxy.metric_becomes(&["connections_refused_total", "reason=\"tls\""], 2.0).await;
}

#[test]
fn a_bad_file_is_named_before_anything_is_bound() {
    let config = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
                tls.certificates = [{ cert = \"/nowhere/a.crt\", key = \"/nowhere/a.key\" }]\n\
                [routes.all]\nupstream = \"http://127.0.0.1:1\"\n";
    std::fs::write(config.path(), text).unwrap();
    let longwire = std::process::Command::new(env!("CARGO_BIN_EXE_longwire"))
        .args(["check", "-c", config.path().to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&longwire.stderr);
    assert_eq!(longwire.status.code(), Some(78));
    assert!(said.contains("listeners.web.tls: /nowhere/a.crt: No such file"), "{said}");
}
