use std::process::Command;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::harness::{Proxy, Upstream, soon};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The next thing that the service manager is told.
async fn told(manager: &UnixDatagram) -> String {
    let mut space = [0; 256];
    let count = soon("a word to the service manager", manager.recv(&mut space)).await.unwrap();
    String::from_utf8_lossy(&space[..count]).trim_end().to_owned()
}

#[tokio::test]
async fn the_service_manager_is_told_of_readiness_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    let upstream = Upstream::answering(OK).await;
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let mut proxy =
        Proxy::to(upstream.address).within(&["env", &socket, "WATCHDOG_USEC=100000"]).start().await;
    assert_eq!(told(&manager).await, "READY=1");
    let mut client = proxy.client().await;
    client.get("/").await;
    assert_eq!(client.response().await.status, 200, "it serves");
    for _ in 0..3 {
        assert_eq!(told(&manager).await, "WATCHDOG=1");
    }
    proxy.signal("TERM");
    while told(&manager).await != "STOPPING=1" {}
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_watchdog_that_is_for_somebody_else_is_not_fed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    let upstream = Upstream::answering(OK).await;
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let within = ["env", &socket, "WATCHDOG_USEC=20000", "WATCHDOG_PID=1"];
    let _proxy = Proxy::to(upstream.address).within(&within).start().await;
    assert_eq!(told(&manager).await, "READY=1");
    let mut space = [0; 256];
    let more = tokio::time::timeout(Duration::from_millis(200), manager.recv(&mut space)).await;
    assert!(more.is_err(), "{}", String::from_utf8_lossy(&space));
}

#[test]
fn the_units_are_ones_that_systemd_takes() {
    let folder = tempfile::tempdir().unwrap();
    let service = include_str!("../../deploy/systemd/longwire.service");
    assert!(service.contains("ExecStart=/usr/bin/longwire run"));
    let socket = include_str!("../../deploy/systemd/longwire.socket");
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for (name, unit) in [("longwire.service", service), ("longwire.socket", socket)] {
        // It is not installed here; neither is its manual.
        let unit = unit.replace("/usr/bin/longwire", env!("CARGO_BIN_EXE_longwire"));
        let unit = unit.replace("Documentation=man:longwire(1)\n", "");
        let path = folder.path().join(name);
        std::fs::write(&path, unit).unwrap();
        verify.arg(path);
    }
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
