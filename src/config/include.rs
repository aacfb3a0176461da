//! `include`: the other files of a configuration.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::read::Table;
use super::units::Invalid;

/// A file, as far as reading a configuration is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What messages call it.
    pub origin: String,
    /// TOML, or what shall be it.
    pub text: String,
}

/// Where `include` finds files.
///
/// A trait for the same reason as [`Env`](super::Env).
pub trait Files {
    /// The files that are meant, in the order in which they are read. Instead of a text there may
    /// be a message why there is none; it is reported where `include` names it.
    fn find(&mut self, named: &Named) -> Vec<Result<Text, String>>;
}

/// What an element of `include` names. The paths are as they are written: relative ones start from
/// the folder of the file that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A file, which must be there.
    File(PathBuf),
    /// The files of a folder with a matching name, of which there may be none.
    Matches {
        /// The folder.
        folder: PathBuf,
        /// What the names have to match.
        name: Pattern,
    },
}

/// Of a text that comes from no folder.
#[derive(Debug)]
pub(super) struct NoFiles;

impl Files for NoFiles {
    fn find(&mut self, _named: &Named) -> Vec<Result<Text, String>> {
        vec![Err("expected no other file, because this text is in no folder".to_owned())]
    }
}

/// Reads `include` of the first file; gives the texts of the others.
pub(super) fn include(root: &mut Table<'_>, files: &mut dyn Files) -> Vec<Text> {
    let reader = root.reader();
    let before = reader.problems();
    let mut texts = Vec::new();
    for named in root.list("include", A_FILE, named).unwrap_or_default() {
        for found in files.find(&named.value) {
            match found {
                Ok(text) => texts.push(text),
                Err(message) => reader.problem(&named.place, message),
            }
        }
    }
    if reader.problems() > before {
        reader.lacks_files();
    }
    texts
}

/// Reports `include` in the files that were included by `origin`: one list tells all files, so
/// there are no circles, and no search for what a name comes from.
pub(super) fn refuse_nested(root: &mut Table<'_>, origin: &str) {
    let reader = root.reader();
    while let Some(value) = root.take("include") {
        let message = format!("expected only in {origin}, found in an included file");
        reader.problem(value.place(), message);
        reader.lacks_files();
    }
}

const A_FILE: &str = "a file such as \"chat.toml\" or \"conf.d/*.toml\"";

/// A path, whose last part may have the wildcards `*`, `?` and `[…]`.
fn named(text: &str) -> Result<Named, Invalid> {
    if text.ends_with('/') {
        return Err(Invalid::new(A_FILE).suggest(format!("{text}*.toml")));
    }
    let path = Path::new(text);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str))
    else {
        return Err(Invalid::new(A_FILE));
    };
    let has_wildcard = |text: &str| text.contains(['*', '?', '[']);
    // A folder can be watched for files that come and go, a tree cannot.
    if has_wildcard(&folder.to_string_lossy()) || name.contains("**") {
        return Err(Invalid::new(format!(
            "{A_FILE}, with wildcards for files and not for folders"
        )));
    }
    if !has_wildcard(name) && !text.contains('\0') {
        return Ok(Named::File(path.to_owned()));
    }
    match Pattern::new(name) {
        Ok(name) if !text.contains('\0') => Ok(Named::Matches { folder: folder.to_owned(), name }),
        _ => Err(Invalid::new(A_FILE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(folder: &str, name: &str) -> Named {
        Named::Matches { folder: PathBuf::from(folder), name: Pattern::new(name).unwrap() }
    }

    #[test]
    fn names_are_files_or_patterns() {
        for file in ["a.toml", "conf.d/a.toml", "/etc/a.toml", "../a.toml", "a]b"] {
            assert_eq!(named(file), Ok(Named::File(PathBuf::from(file))));
        }
        assert_eq!(named("*.toml"), Ok(matches("", "*.toml")));
        assert_eq!(named("conf.d/*.toml"), Ok(matches("conf.d", "*.toml")));
        assert_eq!(named("/?[a-c]"), Ok(matches("/", "?[a-c]")));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in ["", "/", "..", "a\0b", "*\0", "[a", "*.[a"] {
            assert_eq!(named(bad).unwrap_err().expected, A_FILE, "{bad:?}");
        }
        for bad in ["*/a.toml", "conf.d/**/*.toml", "conf.d/**", "a[b]/c"] {
            let expected = named(bad).unwrap_err().expected;
            assert!(expected.ends_with("not for folders"), "{bad:?}: {expected}");
        }
        let suggestion = named("conf.d/").unwrap_err().suggestion;
        assert_eq!(suggestion.as_deref(), Some("conf.d/*.toml"));
    }
}
