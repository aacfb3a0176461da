//! Sets up logging for the process.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::model::{Level, Log, LogFormat};

/// Lines that wait to be written. A log that nobody reads must not stop the streams: beyond these,
/// lines are dropped and counted.
const QUEUED_LINES: usize = 16 * 1024;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes the lines that still wait when it is dropped.
#[must_use]
pub struct LogGuard(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// Begins to log to standard output, from a thread of its own.
///
/// pingora's own lines come through too, at warnings and above: what it reports at `info` is said
/// better by the access log.
pub fn init(log: &Log) -> LogGuard {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let ours = format!("warn,longwire={level},access={level}");
    let filter = match log.level {
        // At these levels HTTP/2 may tell header fields, and so secrets; we never do.
        Level::Debug | Level::Trace => EnvFilter::new(format!("{level},h2=info")),
        Level::Error => EnvFilter::new("error"),
        Level::Warn | Level::Info => EnvFilter::new(ours),
    };
    let terminal = std::io::stdout().is_terminal();
    let format = log.format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .lossy(true)
        .thread_name("longwire-log")
        .finish(std::io::stdout());
    let _ = DROPPED.set(writer.error_counter());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let installed = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => builder.with_ansi(terminal).try_init(),
    };
    installed.expect("logging is set up once in a process");
    LogGuard(guard)
}

/// Lines dropped so far because nobody read the log.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}
