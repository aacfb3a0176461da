//! The limit on open files.

use std::fs::File;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::defaults::DESCRIPTORS_PERCENT;

/// Raises the soft limit to the hard one: a stream needs two descriptors, and the usual soft limit
/// of 1024 is there for programs that use `select`.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// How many client connections the limit allows; at least 1.
pub fn max_connections() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let usable = usize::try_from(soft).unwrap_or(usize::MAX) / 100 * DESCRIPTORS_PERCENT;
    (usable / 2).clamp(1, tokio::sync::Semaphore::MAX_PERMITS)
}

/// A descriptor that is held so that it can be given away when there is no other: with it, a
/// connection that cannot be served can still be accepted and closed.
pub struct Reserve(Option<File>);

impl Reserve {
    /// Takes one.
    pub fn take() -> Self {
        Self(open())
    }

    /// Whether there was one to give away; if so, there is one free now.
    pub fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Takes one again, if there is one.
    pub fn restore(&mut self) {
        self.0 = self.0.take().or_else(open);
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
