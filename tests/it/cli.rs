use std::process::{Command, Output};

use crate::harness::{Client, Upstream, until};

pub fn longwire(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longwire")).args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn write(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

#[test]
fn exit_codes() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/minimal.toml");
    for (arguments, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["config", "example"], 0),
        (&["check", "-c", good], 0),
        (&["check", "-c", "/nonexistent.toml"], 78),
        (&["run", "-c", "/nonexistent.toml"], 78),
        (&["run", "--upstream", "ftp://x"], 78),
        (&["run"], 2),
        (&["run", "-c", good, "--upstream", "http://127.0.0.1:1"], 2),
        (&["fly"], 2),
        (&[], 2),
    ] {
        let output = longwire(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn check_says_everything_that_is_wrong_and_where() {
    let file = write(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.all]\nupstream = \"nowhere\"\n\
         sse.hartbeat = \"15s\"\ntimeouts.idle = 5\n",
    );
    let output = longwire(&["check", "-c", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    for part in [
        "hartbeat",
        "did you mean",
        "heartbeat",
        "nowhere",
        "routes.all.timeouts.idle",
        "5s",
        "3 errors",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(text(&output.stdout).is_empty());
}

#[test]
fn the_example_is_a_configuration() {
    let example = text(&longwire(&["config", "example"]).stdout);
    let file = write(&example);
    let output = longwire(&["check", "-c", file.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok: 1 listener"));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = longwire(&[
        "run",
        "--upstream",
        "http://127.0.0.1:1",
        "--listen",
        &address,
        "--admin",
        "off",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
}

#[tokio::test]
async fn run_needs_no_file() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_longwire"))
        .args(["run", "--upstream", &format!("http://{}", upstream.address)])
        .args(["--listen", &port.to_string(), "--admin", "off"])
        // Without TLS there is nothing to trust: a container without certificates is fine.
        .env("SSL_CERT_FILE", "/nonexistent")
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("it listens", || async { tokio::net::TcpStream::connect(port).await.is_ok() }).await;
    let mut client = Client::connect(port).await;
    client.get("/").await;
    assert_eq!(client.response().await.text(), "ok");
    child.kill().await.unwrap();
}
