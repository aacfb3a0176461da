//! Longwire, with its defaults: heartbeats, pings, metrics and the admin address are on. Only what
//! the others are told, too, differs: one worker, no access log, enough connections. And a short
//! drain, which is measured.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::{Build, Peer, STREAMS, Site};
use crate::machine::version;

/// How long streams may run on when it is asked to end. With this, the farewells are in its second
/// half.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Longwire(pub(crate) Build);

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
        let grace = GRACE.as_secs();
        let config = format!(
            r#"
[server]
workers = 1
max_connections = {STREAMS}
[server.drain]
grace = "{grace}s"
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
