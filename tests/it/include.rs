use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::cli::{longwire, text};
use crate::harness::{Client, Upstream, until};

/// A folder with these files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Runs `longwire run` in that folder, which has `longwire.toml`.
fn run(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_longwire"))
        .args(["run", "-c", "longwire.toml"])
        .current_dir(folder)
        .env("CHAT_KEY", "the key")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn routes_of_one_file_use_the_upstreams_of_another() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let address = free_address();
    let folder = folder(&[
        ("longwire.toml", "include = [\"conf.d/*.toml\"]\n[admin]\nbind = \"off\"\n"),
        ("conf.d/listeners.toml", &format!("[listeners.web]\nbind = [\"{address}\"]\n")),
        (
            "conf.d/models.toml",
            &format!("[upstreams.models]\nendpoints = [\"http://{}\"]\n", upstream.address),
        ),
        (
            "conf.d/chat.toml",
            "[routes.chat]\npaths = [\"/chat\"]\nupstream = \"models\"\n\
             headers.request_set = { X-Key = \"${CHAT_KEY}\", X-File = \"${file:secret}\" }\n",
        ),
        ("conf.d/health.toml", "[routes.health]\npaths = [\"=/up\"]\nrespond.body = \"up\"\n"),
        ("secret", "of a file\n"),
    ]);
    let mut child = run(folder.path());
    until("it listens", || async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;
    let mut client = Client::connect(address).await;
    client.get("/chat").await;
    assert_eq!(client.response().await.text(), "ok");
    client.get("/up").await;
    assert_eq!(client.response().await.text(), "up");
    let request = upstream.requests().concat().to_ascii_lowercase();
    assert!(request.contains("x-key: the key\r\n"), "{request}");
    assert!(request.contains("x-file: of a file\r\n"), "{request}");
    child.kill().await.unwrap();
}

#[test]
fn check_counts_what_all_files_have() {
    let folder = folder(&[
        ("longwire.toml", "include = [\"conf.d/*.toml\", \"none/*\"]\n[routes.a]\nrespond = {}\n"),
        ("conf.d/b.toml", "[routes.b]\npaths = [\"/b\"]\nupstream = \"http://127.0.0.1:1\"\n"),
        ("conf.d/web.toml", "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n"),
    ]);
    let path = folder.path().join("longwire.toml");
    let output = longwire(&["check", "-c", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.ends_with("ok: 1 listener, 2 routes, 1 upstream\n"), "{said}");
}

#[test]
fn check_shows_what_is_wrong_in_each_file() {
    let folder = folder(&[
        (
            "longwire.toml",
            "include = [\"conf.d/*.toml\"]\n[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
             [routes.chat]\nupstream = \"models\"\n",
        ),
        (
            "conf.d/a.toml",
            "[upstreams.models]\nendpoints = [\"http://127.0.0.1:8000\"]\n\n\
             [routes.chat]\npaths = [\"/a/\"]\nupstream = \"model\"\n",
        ),
        (
            "conf.d/b.toml",
            "[routes.b]\npaths = [\"/b/\"]\nupstream = \"models\"\ntimeouts.idle = 5\n\
             headers.request_set = { Host = \"sesame\" }\n",
        ),
    ]);
    let path = folder.path().join("longwire.toml");
    let output = longwire(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr).replace(folder.path().to_str().unwrap(), "");
    for part in [
        "routes.chat: expected a name of its own, found \"chat\" as in routes.chat \
         (/longwire.toml:4)\n --> /conf.d/a.toml:4:9\n  |\n4 | [routes.chat]\n",
        "routes.chat.upstream: expected the name of an upstream",
        "--> /conf.d/a.toml:6:12\n  |\n6 | upstream = \"model\"\n",
        "--> /conf.d/b.toml:4:17\n  |\n4 | timeouts.idle = 5\n",
        "5 | headers.request_set = { Host = ******** }\n",
        "4 errors in 2 files\n",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
    assert!(!said.contains("sesame"), "{said}");
    assert!(text(&output.stdout).is_empty());
}
