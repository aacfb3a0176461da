//! From what is written to what is used: reads every table and checks what concerns several.
//!
//! A value that is wrong has been reported and is replaced by its default, only so that the rest
//! can be checked too; a configuration with a reported problem is never used.

use super::defaults;
use super::model::{Config, Metrics, PerConnection, Timeouts};
use super::read::{Table, Written};
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
mod tracing;
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
    let has_otlp = cfg!(feature = "otlp");
    let tracing = root.single("tracing", |table| tracing::tracing(table, &mut upstreams, has_otlp));
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
    let reader = table.reader();
    let written = table.take("path").and_then(|value| value.parse("a path", metrics_path));
    let mut page = table.table("per_connection");
    let page_written = page.take("path").and_then(|value| value.parse("a path", metrics_path));
    let of = |written: &Option<Written<String>>, default: &str| {
        written.as_ref().map_or_else(|| default.to_owned(), |written| written.value.clone())
    };
    let path = of(&written, defaults::METRICS_PATH);
    let page_path = of(&page_written, defaults::STREAM_SERIES_PATH);
    if let Some(written) = page_written.or(written).filter(|_| page_path == path) {
        let expected = "expected different paths for metrics.path and metrics.per_connection.path";
        reader.problem(&written.place, format!("{expected}, found {} twice", written.text));
    }
    let limits = (1, defaults::STREAM_SERIES_MAX);
    let per_connection = PerConnection {
        enabled: page.boolean("enabled", defaults::STREAM_SERIES_ENABLED),
        path: page_path,
        max_series: page.integer("max_series", defaults::STREAM_SERIES, limits),
    };
    page.finish();
    table.finish();
    Metrics { path, per_connection }
}

/// Other pages share the address, so the metrics pages cannot have their paths.
fn metrics_path(text: &str) -> Result<String, Invalid> {
    let path = matching::exact(text)?;
    let is_taken = matches!(path.as_str(), "/healthz" | "/readyz")
        || ["/api/", "/-/"].iter().any(|taken| path.starts_with(taken));
    if is_taken {
        return Err(Invalid::new("a path other than /healthz, /readyz, /api/… and /-/…"));
    }
    Ok(path)
}
