//! Sets up logging for the process.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::model::{Level, Log, LogFormat};

/// Begins to log to standard output. Only the first call of a process has an effect.
///
/// pingora's own lines come through too, at warnings and above: what it reports at `info` is said
/// better by the access log.
pub fn init(log: &Log) {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let ours = format!("warn,longwire={level},access={level}");
    let filter = match log.level {
        Level::Debug | Level::Trace => EnvFilter::new(level),
        Level::Error => EnvFilter::new("error"),
        Level::Warn | Level::Info => EnvFilter::new(ours),
    };
    let terminal = std::io::stdout().is_terminal();
    let format = log.format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let installed = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_ansi(terminal).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was set up before");
    }
}
