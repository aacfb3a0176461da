//! Caddy: every piece is flushed, one thread runs Go code, no administration, and the connections
//! to the upstream are as many as are needed.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::{Peer, Site};
use crate::machine::version;

pub(super) struct Caddy(pub(super) PathBuf);

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn version(&self) -> Option<String> {
        version(&self.0, "version")
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let Site { listen, origin, directory, .. } = site;
        let config = format!(
            r#"
{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
    servers {{
        protocols h1
    }}
}}
http://:{port} {{
    bind {address}
    reverse_proxy {origin} {{
        flush_interval -1
        transport http {{
            compression off
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
"#,
            port = listen.port(),
            address = listen.ip(),
        );
        let mut command = Command::new(&self.0);
        command.args(["run", "--adapter", "caddyfile", "--config"]);
        command.arg(site.write("Caddyfile", &config)?);
        command.env("GOMAXPROCS", "1");
        // It keeps files at home.
        command.env("HOME", directory).env("XDG_DATA_HOME", directory);
        command.env("XDG_CONFIG_HOME", directory);
        Ok(Some(command))
    }
}
