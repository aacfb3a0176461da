//! Signals that the process listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::telemetry::log;

/// SIGTERM, SIGINT and SIGQUIT: the first asks for a drain, the second for the end at once. SIGHUP
/// asks for a reload, SIGUSR1 for a new log file, SIGUSR2 for a successor.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The end; the name of the signal.
    End(&'static str),
    /// To read the configuration anew.
    Reload,
    /// To start another process that serves instead.
    Upgrade,
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
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End("SIGTERM"),
            _ = self.interrupt.recv() => Heard::End("SIGINT"),
            _ = self.quit.recv() => Heard::End("SIGQUIT"),
            _ = self.hang_up.recv() => Heard::Reload,
            _ = self.user_1.recv() => Heard::Reopen,
            _ = self.user_2.recv() => Heard::Upgrade,
        }
    }

    /// What `work` gives, unless a signal asks for the end first: then its name. A reload that is
    /// asked for meanwhile is still to come.
    pub async fn unless_end<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        tokio::select! {
            done = work => Ok(done),
            _ = self.terminate.recv() => Err("SIGTERM"),
            _ = self.interrupt.recv() => Err("SIGINT"),
            _ = self.quit.recv() => Err("SIGQUIT"),
        }
    }

    /// The name of the next one that asks for the end.
    pub async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Heard::End(signal) => return signal,
                Heard::Reload => tracing::warn!("not reloaded: the process drains"),
                Heard::Upgrade => tracing::warn!("no upgrade: the process drains"),
                Heard::Reopen => reopen_log(),
            }
        }
    }
}

/// Opens the log's file anew, in a thread that may block.
pub fn reopen_log() {
    tokio::task::spawn_blocking(log::reopen);
}
