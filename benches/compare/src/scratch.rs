//! The directory of a run, with the configurations of the proxies. It goes with the run, also if
//! that is ended by a signal; the proxies end by themselves then, as `launch` has asked for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

pub(crate) struct Scratch {
    directory: TempDir,
    next: AtomicU64,
}

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        let directory = TempDir::with_prefix("compare-")?;
        let path = directory.path().to_owned();
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let _ = fs::remove_dir_all(&path);
                std::process::exit(128 + signal);
            }
        });
        Ok(Self { directory, next: AtomicU64::new(0) })
    }

    /// A new directory in it.
    pub(crate) fn site(&self) -> io::Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let path = Path::join(self.directory.path(), number);
        fs::create_dir(&path)?;
        Ok(path)
    }
}
