//! How a process starts the one that shall serve in its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// What makes a process the successor of another.
const UPGRADE: &str = "--upgrade";

/// The program that this process runs, as it was started.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This one. Must be called at the start: later another file may be at the same place, which is
    /// the one to start then.
    pub fn this() -> std::io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().map(PathBuf::from);
        let running = std::env::current_exe()?;
        let path = name.and_then(|name| place(&name, &running)).unwrap_or(running);
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// Starts it with the same arguments, as a successor. It writes where we write.
    pub fn start_successor(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        if !self.arguments.iter().any(|argument| argument == UPGRADE) {
            command.arg(UPGRADE);
        }
        // The watchdog will be the successor's to feed, if it was ours (`sd_watchdog_enabled(3)`).
        const WATCHDOG_PID: &str = "WATCHDOG_PID";
        let ours = std::process::id().to_string();
        if std::env::var(WATCHDOG_PID).is_ok_and(|pid| pid == ours) {
            command.env_remove(WATCHDOG_PID);
        }
        command.spawn()
    }
}

/// Where the file is that is called `name`, if it is the one that is `running`: with symbolic links
/// as they are, since what they lead to is what an upgrade changes.
fn place(name: &Path, running: &Path) -> Option<PathBuf> {
    let is_running = |path: &PathBuf| {
        let there = std::fs::canonicalize(path);
        there.is_ok_and(|there| std::fs::canonicalize(running).is_ok_and(|it| it == there))
    };
    if name.components().count() > 1 {
        return std::path::absolute(name).ok().filter(is_running);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(is_running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_link_is_kept_and_a_false_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("v1"), folder.path().join("v2"));
        let link = folder.path().join("current");
        std::fs::write(&file, "").unwrap();
        std::fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(place(&link, &file), Some(link));
        assert_eq!(place(&other, &file), None);
        assert_eq!(place(Path::new("no such program"), &file), None);
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let found = place(Path::new("sh"), &shell).expect("it is in PATH");
        assert!(found.is_absolute() && found.ends_with("sh"), "{}", found.display());
    }
}
