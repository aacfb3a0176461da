//! The configuration: from a TOML file to [`model::Config`].
//!
//! ```text
//! file ──load──▶ text ──read──▶ typed values ──build──▶ model
//!                        ${ENV}, spans          checks
//! ```
//!
//! Everything but [`load()`] is pure, except that the default of `server.workers` asks how many
//! cores there are: text and an [`Env`] in, a value or *all* problems out. A value of the model is
//! complete and checked, so the rest of the program never asks again whether a setting was given or
//! makes sense. TOML itself is read by the `toml` crate (TOML 1.1).

use std::net::SocketAddr;

use toml::de::DeTable;

mod build;
pub mod defaults;
mod error;
mod interpolate;
mod load;
pub mod model;
mod read;
mod suggest;
#[cfg(test)]
mod tests;
mod units;
mod url;

pub use error::{Errors, Problem};
pub use interpolate::Env;
pub use load::{LoadError, SystemEnv, load};

/// Reads the configuration `source`; messages call the file `origin`.
///
/// On failure the result holds every problem of the file, not only the first.
pub fn parse(source: &str, origin: &str, env: &dyn Env) -> Result<model::Config, Errors> {
    let (document, syntax_errors) = DeTable::parse_recoverable(source);
    let reader = read::Reader::new(source, env);
    for error in syntax_errors {
        reader.syntax_error(error.message(), error.span());
    }
    let config = build::config(read::Table::root(&reader, document.get_ref()));
    reader.finish(origin)?;
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
