//! The configuration: from a TOML file, and those that it includes, to [`model::Config`].
//!
//! ```text
//! files ──load──▶ texts ──read──▶ typed values ──build──▶ model
//!        include          ${ENV}, spans          checks
//! ```
//!
//! Everything but [`load()`] is pure, except that the default of `server.workers` asks how many
//! cores there are: texts and an [`Env`] in, a value or *all* problems out. A value of the model is
//! complete and checked, so the rest of the program never asks again whether a setting was given or
//! makes sense. TOML itself is read by the `toml` crate (TOML 1.1).

use std::net::SocketAddr;

mod build;
pub mod defaults;
mod error;
mod include;
mod interpolate;
mod load;
pub mod model;
mod read;
pub mod shown;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod units;
mod url;

pub use error::{Errors, Problem};
pub use include::{Files, Named, Text};
pub use interpolate::Env;
pub use load::{LoadError, Loaded, SystemEnv, load};

/// Reads the configuration `source`, which includes no files; messages call it `origin`.
///
/// On failure the result holds every problem, not only the first.
pub fn parse(source: &str, origin: &str, env: &dyn Env) -> Result<model::Config, Errors> {
    parse_with(source, origin, env, &mut include::NoFiles)
}

/// As [`parse`], with the files that `source` includes, which are found in `files`. Their tables
/// are merged with those of `source`.
pub fn parse_with(
    source: &str,
    origin: &str,
    env: &dyn Env,
    files: &mut dyn Files,
) -> Result<model::Config, Errors> {
    let reader = read::Reader::new(env);
    let first = reader.document(origin, source);
    let mut root = read::Table::root(&reader, &first);
    let included = include::include(&mut root, files);
    let documents: Vec<_> =
        included.iter().map(|file| reader.document(&file.origin, &file.text)).collect();
    for document in &documents {
        root.append(read::Table::root(&reader, document));
    }
    include::refuse_nested(&mut root, origin);
    let config = build::config(root);
    reader.finish()?;
    Ok(config)
}

/// The configuration of `longwire run --upstream URL`: one listener `web`, one route `all`.
///
/// It goes through the same reader as a file, so both have the same defaults and the same limits.
pub fn simple(upstream_url: &str, listen: SocketAddr) -> Result<model::Config, String> {
    // Here it may be shown in the message, and a name of an upstream is none.
    url::endpoint(upstream_url).map_err(|invalid| invalid.found(upstream_url))?;
    let source = format!(
        "[listeners.web]\nbind = [\"{listen}\"]\n[routes.all]\nupstream = \"${{UPSTREAM_URL}}\"\n"
    );
    let env = interpolate::Single("UPSTREAM_URL", upstream_url);
    parse(&source, "command line", &env).map_err(|errors| {
        let messages: Vec<_> = errors.iter().map(Problem::to_string).collect();
        messages.join("\n")
    })
}

/// The commented reference file: every key with its default, unit and a sentence.
pub fn example() -> &'static str {
    include_str!("../../conf/reference.toml")
}
