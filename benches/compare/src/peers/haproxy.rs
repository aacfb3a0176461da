//! HAProxy: one thread, connections to the upstream shared by all clients, small pieces sent at
//! once, the upstream told when a client leaves. Its buffers stay at 16 KiB: they are given back
//! while a stream is silent, so smaller ones would only make large heads fail.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::{Peer, STREAMS, Site};
use crate::machine::version;

pub(super) struct HaProxy(pub(super) PathBuf);

impl Peer for HaProxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn version(&self) -> Option<String> {
        version(&self.0, "-v")
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let Site { listen, origin, .. } = site;
        let config = format!(
            r#"
global
    nbthread 1
    maxconn {STREAMS}
defaults
    mode http
    no log
    option http-no-delay
    option abortonclose
    timeout connect 5s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend web
    bind {listen} backlog 4096
    default_backend origin
backend origin
    http-reuse always
    server origin {origin} pool-max-conn 256
"#
        );
        let mut command = Command::new(&self.0);
        // -db: no master, no background.
        command.args(["-db", "-q", "-f"]).arg(site.write("haproxy.cfg", &config)?);
        Ok(Some(command))
    }
}
