//! Longwire, with its defaults: heartbeats, pings, metrics and the admin address are on. Only what
//! the others are told, too, differs: one worker, no access log, enough connections.

use std::io;
use std::process::Command;

use super::{Build, Peer, STREAMS, Site};
use crate::machine::version;

pub(super) struct Longwire(pub(super) Build);

impl Peer for Longwire {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn family(&self) -> &'static str {
        "longwire"
    }

    fn version(&self) -> Option<String> {
        version(&self.0.path, "--version")
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let Site { listen, admin, origin, .. } = site;
        let config = format!(
            r#"
[server]
workers = 1
max_connections = {STREAMS}
[listeners.web]
bind = ["{listen}"]
[routes.all]
upstream = "http://{origin}"
[admin]
bind = "{admin}"
[log.access]
enabled = false
"#
        );
        let mut command = Command::new(&self.0.path);
        command.args(["run", "-c"]).arg(site.write("longwire.toml", &config)?);
        Ok(Some(command))
    }
}
