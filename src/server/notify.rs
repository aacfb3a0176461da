//! What the service manager is told (`sd_notify(3)`): that we serve, that we end, that we live.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody listens, and nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::{AbortHandle, JoinHandle};

/// Tells the service manager that the process lives, as long as this lives.
#[must_use]
pub struct Watchdog(Option<AbortHandle>);

impl Watchdog {
    /// Begins, if the service manager asks for it; must be called inside a runtime. What it proves
    /// is that the runtime gets to its timers: a process that is stuck is restarted.
    pub fn start() -> Self {
        let task = |within: Duration| -> JoinHandle<()> {
            tokio::spawn(async move {
                // `sd_watchdog_enabled(3)` recommends half of the time.
                let mut ticks = tokio::time::interval(within / 2);
                loop {
                    ticks.tick().await;
                    tell(NotifyState::Watchdog);
                }
            })
        };
        Self(sd_notify::watchdog_enabled().map(|within| task(within).abort_handle()))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// All addresses accept connections.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The configuration is being read anew; [`ready`] says that this is over.
pub fn reloading() {
    // `Type=notify-reload` wants to know since when.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_all(&[NotifyState::Reloading, now]),
        Err(_) => tell(NotifyState::Reloading),
    }
}

/// Another process serves from now on. What it says counts from then on, and what we say does not,
/// if only the main process may speak (`NotifyAccess=main`): so we say it.
pub fn main_pid(pid: u32) {
    tell(NotifyState::MainPid(pid));
}

/// The process has begun to end.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    tell_all(&[state]);
}

fn tell_all(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
