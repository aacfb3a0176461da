//! The plain TCP relay, which is a part of this program.

use std::io;
use std::process::Command;

use super::{Peer, Site};

pub(super) struct Relay;

impl Peer for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn command(&self, site: &Site) -> io::Result<Option<Command>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("relay").args([site.listen, site.origin].map(|address| address.to_string()));
        Ok(Some(command))
    }
}
