//! Signals that the process listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::telemetry::log;

/// SIGTERM, SIGINT and SIGQUIT: the first asks for a drain, the second for the end at once. SIGHUP
/// asks for a reload, SIGUSR1 for a new log file.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The end; the name of the signal.
    End(&'static str),
    /// To read the configuration anew.
    Reload,
    /// To open the log's file anew.
    Reopen,
}

impl Signals {
    /// Begins to catch them.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End("SIGTERM"),
            _ = self.interrupt.recv() => Heard::End("SIGINT"),
            _ = self.quit.recv() => Heard::End("SIGQUIT"),
            _ = self.hang_up.recv() => Heard::Reload,
            _ = self.user.recv() => Heard::Reopen,
        }
    }

    /// The name of the next one that asks for the end.
    pub async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Heard::End(signal) => return signal,
                Heard::Reload => tracing::warn!("not reloaded: the process drains"),
                Heard::Reopen => reopen_log(),
            }
        }
    }
}

/// Opens the log's file anew, in a thread that may block.
pub fn reopen_log() {
    tokio::task::spawn_blocking(log::reopen);
}
