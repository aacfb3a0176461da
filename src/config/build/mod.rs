//! From what is written to what is used: reads every table and checks what concerns several.
//!
//! A value that is wrong has been reported and is replaced by its default, only so that the rest
//! can be checked too; a configuration with a reported problem is never used.

use super::defaults;
use super::model::{Config, Metrics, Timeouts};
use super::read::Table;
use super::units::Invalid;

mod access;
mod auth;
mod balance;
mod check;
mod endpoint;
mod fields;
mod health;
mod keepalive;
mod limits;
mod listener;
mod log;
mod matching;
mod pool;
mod proxy;
mod retry;
mod route;
mod server;
#[cfg(test)]
mod tests;
mod upstream;
mod websocket;

/// Reads everything that is in the files.
pub(super) fn config(mut root: Table<'_>) -> Config {
    let reader = root.reader();
    let server = root.single("server", server::server);
    let mut binds = Vec::new();
    let listeners = listener::listeners(&mut root, &mut binds);
    let timeouts = root.single("defaults", default_timeouts);
    let mut upstreams = upstream::upstreams(root.merged("upstreams"));
    let routes = route::routes(&mut root, &listeners, &mut upstreams, &timeouts);
    let (admin, admin_bind) = root.single("admin", server::admin).unzip();
    binds.extend(admin_bind);
    let metrics = root.single("metrics", metrics);
    let log = root.single("log", log::log);
    let tracing = root.single("tracing", log::tracing);
    root.finish();
    check::binds(reader, binds);
    check::ties(reader, &routes);
    let routes = routes.into_iter().map(|read| read.route).collect();
    Config { server, listeners, timeouts, upstreams, routes, admin, metrics, log, tracing }
}

/// `[defaults]`.
fn default_timeouts(mut table: Table<'_>) -> Timeouts {
    let timeouts = proxy::timeouts(table.table("timeouts"), &proxy::default_timeouts());
    table.finish();
    timeouts
}

fn metrics(mut table: Table<'_>) -> Metrics {
    let path = table.take("path").and_then(|value| value.parse("a path", metrics_path));
    table.finish();
    let path = path.map_or_else(|| defaults::METRICS_PATH.to_owned(), |path| path.value);
    Metrics { path }
}

/// The health pages share the address, so the metrics page cannot have their paths.
fn metrics_path(text: &str) -> Result<String, Invalid> {
    let path = matching::exact(text)?;
    if matches!(path.as_str(), "/healthz" | "/readyz") {
        return Err(Invalid::new("a path other than /healthz and /readyz"));
    }
    Ok(path)
}
