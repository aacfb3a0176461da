//! `${ENV}`, `${ENV:-default}` and `${file:/path}` inside strings; `$${` is a literal `${`.
//!
//! What comes out may be a secret, so it never goes into a message: problems show the string as it
//! was written. There is no nesting, and what was put in is not searched again.

use std::io;

/// Where `${…}` looks things up.
///
/// A trait, so that reading a configuration stays pure and tests bring their own environment.
pub trait Env {
    /// The environment variable `name`.
    fn var(&self, name: &str) -> Option<String>;
    /// The text of the file at `path`.
    fn file(&self, path: &str) -> io::Result<String>;
}

/// An environment of one variable, its name and its value. What is put in through it needs no
/// quoting, whatever it is.
#[derive(Debug)]
pub(super) struct Single<'v>(pub &'static str, pub &'v str);

impl Env for Single<'_> {
    fn var(&self, name: &str) -> Option<String> {
        (name == self.0).then(|| self.1.to_owned())
    }

    fn file(&self, _path: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A string after interpolation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interpolated {
    /// The text to use.
    pub text: String,
    /// Whether a part came from outside the file, so that the text must not be shown.
    pub from_outside: bool,
}

/// Why a `${…}` has no value. Neither kind holds a value, or more of the string than a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadReference {
    /// It is not written as it should be; goes after "expected".
    Form(&'static str),
    /// What it names is not there; a whole message.
    Missing(String),
}

/// Replaces every `${…}` in `written`.
pub(super) fn interpolate(written: &str, env: &dyn Env) -> Result<Interpolated, BadReference> {
    let mut text = String::with_capacity(written.len());
    let mut from_outside = false;
    let mut rest = written;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = after;
            continue;
        }
        let Some(end) = after.find('}') else {
            return Err(BadReference::Form(NO_END));
        };
        text.push_str(before);
        text.push_str(&look_up(&after[..end], env)?);
        from_outside = true;
        rest = &after[end + 1..];
    }
    text.push_str(rest);
    Ok(Interpolated { text, from_outside })
}

/// The value of what stands between `${` and `}`.
fn look_up(reference: &str, env: &dyn Env) -> Result<String, BadReference> {
    if let Some(path) = reference.strip_prefix("file:") {
        let content = env.file(path).map_err(|error| {
            BadReference::Missing(format!("cannot read the file {path:?} of ${{file:…}}: {error}"))
        })?;
        // Secrets are commonly written by editors and `echo`, which end the line.
        let content = content.strip_suffix('\n').unwrap_or(&content);
        return Ok(content.strip_suffix('\r').unwrap_or(content).to_owned());
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_variable_name(name) {
        return Err(BadReference::Form(REFERENCE_FORMS));
    }
    // As in a shell, `:-` also replaces a variable that is set but empty.
    match (env.var(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(BadReference::Missing(format!("environment variable {name} is not set")))
        }
    }
}

fn is_variable_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

const NO_END: &str = "a closing } after ${, or $${ for a literal ${";
const REFERENCE_FORMS: &str =
    "references such as ${NAME}, ${NAME:-default} or ${file:/path}, and $${ for a literal ${";

#[cfg(test)]
mod tests {
    use super::*;

    struct OneVariable;

    impl Env for OneVariable {
        fn var(&self, name: &str) -> Option<String> {
            match name {
                "SET" => Some("value ${SET}".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn file(&self, path: &str) -> io::Result<String> {
            match path {
                "/run/secrets/x" => Ok("secret\r\n".to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn text(written: &str) -> Result<String, BadReference> {
        interpolate(written, &OneVariable).map(|interpolated| interpolated.text)
    }

    #[test]
    fn references_become_values_once() {
        assert_eq!(text("a ${SET} b").unwrap(), "a value ${SET} b", "no second round");
        assert_eq!(text("${SET}${SET}").unwrap(), "value ${SET}value ${SET}");
        assert_eq!(text("${EMPTY}").unwrap(), "");
        assert_eq!(text("${UNSET:-b:-c}").unwrap(), "b:-c");
        assert_eq!(text("${EMPTY:-b}").unwrap(), "b");
        assert_eq!(text("${SET:-b}").unwrap(), "value ${SET}");
        assert_eq!(text("${UNSET:-}").unwrap(), "");
        assert_eq!(text("${file:/run/secrets/x}").unwrap(), "secret");
    }

    #[test]
    fn a_doubled_dollar_is_literal() {
        assert_eq!(text("$${SET} $5 $$ {").unwrap(), "${SET} $5 $$ {");
        assert!(!interpolate("$${SET}", &OneVariable).unwrap().from_outside);
        assert!(interpolate("${SET}", &OneVariable).unwrap().from_outside);
    }

    #[test]
    fn broken_references_are_explained() {
        let missing = BadReference::Missing("environment variable UNSET is not set".to_owned());
        assert_eq!(text("${UNSET}").unwrap_err(), missing);
        assert_eq!(text("a ${SET").unwrap_err(), BadReference::Form(NO_END));
        for bad in ["${}", "${1A}", "${A B}", "${A:b}", "${:-x}"] {
            assert_eq!(text(bad).unwrap_err(), BadReference::Form(REFERENCE_FORMS), "{bad}");
        }
        let BadReference::Missing(message) = text("${file:/missing}").unwrap_err() else {
            panic!("a missing file is not a matter of form");
        };
        assert!(message.contains("\"/missing\""), "{message}");
    }
}
