//! Signals that the process listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGQUIT: the first asks for a drain, the second for the end at once. SIGHUP
/// asks for a reload.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The end; the name of the signal.
    End(&'static str),
    /// To read the configuration anew.
    Reload,
}

impl Signals {
    /// Begins to catch them.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End("SIGTERM"),
            _ = self.interrupt.recv() => Heard::End("SIGINT"),
            _ = self.quit.recv() => Heard::End("SIGQUIT"),
            _ = self.hang_up.recv() => Heard::Reload,
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
            if let Heard::End(signal) = self.next().await {
                return signal;
            }
            tracing::warn!("not reloaded: the process drains");
        }
    }
}
