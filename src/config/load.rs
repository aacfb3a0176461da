//! The thin part that touches the world: reads the file and the environment.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::Errors;
use super::interpolate::Env;
use super::{defaults, model, parse};

/// Why a configuration file could not be loaded.
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
    /// The file was read and has problems.
    #[error(transparent)]
    Invalid(#[from] Errors),
}

/// Reads and checks the configuration file at `path`.
pub fn load(path: &Path) -> Result<model::Config, LoadError> {
    let source = read_limited(path, defaults::CONFIG_MAX_BYTES)
        .map_err(|reason| LoadError::Read { path: path.to_owned(), reason })?;
    Ok(parse(&source, &path.display().to_string(), &SystemEnv)?)
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
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_file_names_path_and_reason() {
        let error = load(Path::new("/nonexistent/longwire.toml")).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("cannot read /nonexistent/longwire.toml: "), "{message}");
        assert!(message.contains("No such file"), "{message}");
    }

    #[test]
    fn an_endless_file_is_refused() {
        let error = load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }

    #[test]
    fn problems_carry_the_path_as_named() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/bad/empty.toml");
        let error = load(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:1: ", path.display())), "{error}");
    }
}
