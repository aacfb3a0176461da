//! No proxy at all: what origin and client do by themselves.

use std::io;
use std::process::Command;

use super::{Peer, Site};

pub(super) struct Direct;

impl Peer for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn command(&self, _: &Site) -> io::Result<Option<Command>> {
        Ok(None)
    }
}
