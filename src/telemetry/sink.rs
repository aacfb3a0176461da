//! Where log lines go: standard output, or a file that is opened anew when it was renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines tell who asked for what: nobody but the user and the group of the process reads them.
const MODE: u32 = 0o640;

/// Standard output, or a file.
pub(super) enum Sink {
    Stdout(Stdout),
    File { file: File, next: Arc<Next> },
}

/// The file that comes next.
pub(super) struct Next {
    path: PathBuf,
    opened: Mutex<Option<File>>,
}

impl Sink {
    /// The file at `path`, to which lines are added; standard output without one.
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(io::stdout())) };
        let next = Next { path: path.to_owned(), opened: Mutex::default() };
        Ok(Self::File { file: next.open()?, next: Arc::new(next) })
    }

    /// With which the file is opened anew.
    pub(super) fn next(&self) -> Option<Arc<Next>> {
        match self {
            Self::Stdout(_) => None,
            Self::File { next, .. } => Some(Arc::clone(next)),
        }
    }
}

impl Next {
    /// Opens the file again. The next line goes there; if that fails, to where the last one went.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let file = self.open()?;
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(MODE).open(&self.path)
    }

    fn take(&self) -> Option<File> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    /// Writes one line, all of it to the same file.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(line),
            Self::File { file, next } => {
                if let Some(opened) = next.take() {
                    *file = opened;
                }
                file.write_all(line)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            // Nothing is held back.
            Self::File { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_the_name_once_it_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let [path, old] = ["log", "log.1"].map(|name| folder.path().join(name));
        let mut sink = Sink::open(Some(&path)).unwrap();
        let next = sink.next().unwrap();
        sink.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        sink.write_all(b"two\n").unwrap();
        next.reopen().unwrap();
        sink.write_all(b"three\n").unwrap();
        next.reopen().unwrap();
        sink.write_all(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }

    #[test]
    fn what_cannot_be_opened_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let mut sink = Sink::open(Some(&inner.join("log"))).unwrap();
        let next = sink.next().unwrap();
        std::fs::rename(&inner, folder.path().join("other")).unwrap();
        assert!(next.reopen().is_err());
        sink.write_all(b"one\n").unwrap();
        let written = std::fs::read_to_string(folder.path().join("other/log")).unwrap();
        assert_eq!(written, "one\n");
        assert!(Sink::open(Some(&inner.join("log"))).is_err());
    }
}
