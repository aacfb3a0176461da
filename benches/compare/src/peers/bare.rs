//! The bare pingora app, which is built beside this program.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::{Peer, Site};

pub(super) struct Bare(PathBuf);

impl Bare {
    /// None if it was not built.
    pub(super) fn found() -> Option<Self> {
        let path = std::env::current_exe().ok()?.with_file_name("bare");
        path.is_file().then_some(Self(path))
    }
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        "pingora"
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let mut command = Command::new(&self.0);
        command.args([site.listen, site.origin].map(|address| address.to_string()));
        Ok(Some(command))
    }
}
