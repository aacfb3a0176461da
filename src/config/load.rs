//! The thin part that touches the world: reads the files and the environment.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::error::Errors;
use super::include::{Files, Named, Text};
use super::interpolate::Env;
use super::units::written_size;
use super::{defaults, model, parse_with};

/// A configuration, and where it comes from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: model::Config,
    /// What it depends on: the file, those that it includes, and the folders that were searched for
    /// them. Paths are as they were named, relative ones to the working directory.
    pub files: Vec<PathBuf>,
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read at all.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file, as it was named.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The file was read, and it or one that it includes has problems.
    #[error("{errors}")]
    Invalid {
        /// All of them.
        errors: Errors,
        /// As [`Loaded::files`]: a change in one of them may be the remedy.
        files: Vec<PathBuf>,
    },
}

/// Reads and checks the configuration file at `path` with all that it includes.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let (mut disk, text) =
        Disk::open(path).map_err(|reason| LoadError::Read { path: path.to_owned(), reason })?;
    let parsed = parse_with(&text.text, &text.origin, &SystemEnv, &mut disk);
    let files = disk.files;
    match parsed {
        Ok(config) => Ok(Loaded { config, files }),
        Err(errors) => Err(LoadError::Invalid { errors, files }),
    }
}

/// The environment and the files of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> io::Result<String> {
        read_limited(Path::new(path), defaults::SECRET_MAX_BYTES)
    }
}

/// The files around the first one.
pub(super) struct Disk {
    /// The folder of the first file.
    base: PathBuf,
    /// As in [`Loaded::files`].
    files: Vec<PathBuf>,
    /// What was read, without links: two patterns may match the same file, even the first one.
    seen: HashSet<PathBuf>,
    /// How much all further files may have; `None` once that was too little.
    bytes_left: Option<u64>,
}

impl Disk {
    /// Reads the first file.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Text)> {
        let text = read_limited(path, defaults::CONFIG_MAX_BYTES)?;
        let disk = Self {
            base: path.parent().map(Path::to_owned).unwrap_or_default(),
            files: vec![path.to_owned()],
            seen: fs::canonicalize(path).into_iter().collect(),
            bytes_left: Some(defaults::CONFIG_MAX_BYTES - text.len() as u64),
        };
        Ok((disk, Text { origin: path.display().to_string(), text }))
    }

    /// The files in `folder` whose names match. As in a shell, a wildcard does not match the dot in
    /// front of a hidden file, which an editor may have put there.
    fn matches(&mut self, folder: &Path, name: &Pattern) -> io::Result<Vec<PathBuf>> {
        let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        self.note(listed);
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let mut paths = Vec::new();
        let entries = match fs::read_dir(listed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
            entries => entries?,
        };
        for entry in entries {
            let file_name = entry?.file_name();
            let path = folder.join(&file_name);
            if name.matches_path_with(Path::new(&file_name), options) && !path.is_dir() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// The text of a file, unless it was read before.
    fn read(&mut self, path: &Path) -> Option<Result<Text, String>> {
        let bytes_left = self.bytes_left?;
        if let Ok(real) = fs::canonicalize(path)
            && !self.seen.insert(real)
        {
            return None;
        }
        self.note(path);
        if self.seen.len() > defaults::CONFIG_MAX_FILES {
            self.bytes_left = None;
            let max = defaults::CONFIG_MAX_FILES;
            return Some(Err(format!(
                "expected at most {max} files, found {} too",
                path.display()
            )));
        }
        match read_limited(path, bytes_left) {
            Ok(text) => {
                self.bytes_left = Some(bytes_left - text.len() as u64);
                Some(Ok(Text { origin: path.display().to_string(), text }))
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.bytes_left = None;
                let max = written_size(defaults::CONFIG_MAX_BYTES);
                let path = path.display();
                Some(Err(format!("expected at most {max} in all files, found more with {path}")))
            }
            Err(error) => Some(Err(format!("cannot read {}: {error}", path.display()))),
        }
    }

    fn note(&mut self, path: &Path) {
        if !self.files.iter().any(|noted| noted == path) {
            self.files.push(path.to_owned());
        }
    }
}

impl Files for Disk {
    fn find(&mut self, named: &Named) -> Vec<Result<Text, String>> {
        let paths = match named {
            Named::File(path) => vec![self.base.join(path)],
            Named::Matches { folder, name } => {
                let folder = self.base.join(folder);
                match self.matches(&folder, name) {
                    Ok(paths) => paths,
                    Err(error) => {
                        return vec![Err(format!("cannot read {}: {error}", folder.display()))];
                    }
                }
            }
        };
        paths.iter().filter_map(|path| self.read(path)).collect()
    }
}

/// Reads a text file, but refuses one that is larger than a sane one ever is: the path may name a
/// device that never ends.
fn read_limited(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        let message = format!("larger than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
