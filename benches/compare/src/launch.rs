//! What runs in a new process before the proxy: ties it to a core, asks for a signal at our death,
//! and becomes the proxy. So that no proxy outlives the comparison, whatever ends it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::pin;

/// The signal that ends a proxy when we die.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Ending {
    /// For those with one process.
    Kill,
    /// For those whose first process ends the others.
    Term,
}

#[derive(clap::Args)]
pub(crate) struct Launch {
    /// The process that must be our parent still.
    #[arg(long)]
    parent: i32,
    #[arg(long)]
    core: Option<usize>,
    /// Whether it is put before others.
    #[arg(long)]
    first: bool,
    #[arg(long)]
    ending: Ending,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// The comparison itself, in a session of its own, until it ends. It ends with us.
pub(crate) fn inner() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command.args(["launch", "--first", "--ending", "term"]);
    command.args(["--parent", &std::process::id().to_string(), "--"]);
    command.arg(&program).args(std::env::args_os().skip(1)).arg("--inner");
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Becomes the command; comes back only with an error.
pub(crate) fn run(launch: &Launch) -> anyhow::Error {
    if let Some(core) = launch.core {
        pin::to(core);
    }
    if launch.first {
        pin::first();
    }
    let signal = match launch.ending {
        Ending::Kill => Signal::KILL,
        Ending::Term => Signal::TERM,
    };
    if let Err(error) = set_parent_process_death_signal(Some(signal)) {
        return error.into();
    }
    if getppid().is_none_or(|parent| parent.as_raw_pid() != launch.parent) {
        return anyhow::anyhow!("the comparison is gone");
    }
    Command::new(&launch.command[0]).args(&launch.command[1..]).exec().into()
}
