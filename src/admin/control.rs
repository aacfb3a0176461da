//! What operators may ask of the process. It answers in the order in which it is asked.

use tokio::sync::{mpsc, oneshot};

/// A wish, with a way to answer.
#[derive(Debug)]
pub enum Command {
    /// Read the configuration anew and use it.
    Reload(oneshot::Sender<Result<Reloaded, NotReloaded>>),
    /// Let the exchanges end, then end; gives how many are open.
    Drain(oneshot::Sender<u64>),
}

/// The configuration was read anew and is in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys with values that are used only after a restart or an upgrade.
    pub needs_restart: Vec<&'static str>,
}

/// The configuration stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// What was read cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// There is no file to read, or it is too late.
    #[error("{0}")]
    Refused(&'static str),
}

/// Asks the process.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Command>);

/// Wishes that wait.
const QUEUE: usize = 16;

impl Control {
    /// With the end at which the process hears.
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Reads the configuration anew.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        let ends = NotReloaded::Refused("the process ends");
        self.ask(Command::Reload).await.unwrap_or(Err(ends))
    }

    /// Begins to end the process; gives how many exchanges are open, if it has not ended yet.
    pub async fn drain(&self) -> Option<u64> {
        self.ask(Command::Drain).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(command(sender)).await.ok()?;
        receiver.await.ok()
    }
}
