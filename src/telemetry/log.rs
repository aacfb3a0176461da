//! Sets up logging for the process.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::panics;
use super::sink::{Next, Sink};
use super::text::Text;
use crate::config::model::{Level, Log, LogFormat};

/// Lines that wait to be written. A log that nobody reads must not stop the streams: beyond these,
/// lines are dropped and counted.
const QUEUED_LINES: usize = 16 * 1024;

/// Changes the level of the log that was set up.
static LEVELS: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Lines that found no room in the queue.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that could not be written: nobody holds the other end of the pipe, the disk is full.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// Opens the log's file anew, if it has one.
static NEXT: OnceLock<Arc<Next>> = OnceLock::new();

/// Writes the lines that still wait when it is dropped.
#[must_use]
pub struct LogGuard(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// The log's file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("log.file: {}: {error}", path.display())]
pub struct LogError {
    path: PathBuf,
    error: io::Error,
}

/// Begins to log, from a thread of its own; panics are logged, too.
///
/// pingora's own lines come through too, at warnings and above: what it reports at `info` is said
/// better by the access log.
pub fn init(log: &Log) -> Result<LogGuard, LogError> {
    let sink = Sink::open(log.file.as_deref()).map_err(|error| {
        let path = log.file.clone().unwrap_or_default();
        LogError { path, error }
    })?;
    if let Some(next) = sink.next() {
        let _ = NEXT.set(next);
    }
    let terminal = log.file.is_none() && io::stdout().is_terminal();
    let format = log.format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .lossy(true)
        .thread_name("longwire-log")
        .finish(Output { sink, told: 0 });
    let _ = DROPPED.set(writer.error_counter());
    let layer = fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => layer.with_ansi(terminal).event_format(Text).boxed(),
    };
    let (filter, levels) = reload::Layer::new(filter(log.level));
    let installed = tracing_subscriber::registry().with(filter).with(layer).try_init();
    let _ = LEVELS.set(levels);
    installed.expect("logging is set up once in a process");
    panics::log_all();
    Ok(LogGuard(guard))
}

/// Opens the log's file anew, if it has one: somebody has renamed it.
pub fn reopen() {
    let Some(next) = NEXT.get() else { return tracing::info!("no log file to open anew") };
    match next.reopen() {
        Ok(()) => tracing::info!("log file was opened anew"),
        Err(error) => tracing::error!(%error, "log file stays as it is"),
    }
}

/// Logs from now on what is at least as severe.
pub fn set_level(level: Level) {
    if let Some(levels) = LEVELS.get() {
        // It fails only when nothing logs any more.
        let _ = levels.reload(filter(level));
    }
}

fn filter(level: Level) -> EnvFilter {
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    match level {
        // At these levels HTTP/2 may tell header fields, and so secrets; we never do.
        Level::Debug | Level::Trace => EnvFilter::new(format!("{name},h2=info")),
        Level::Error => EnvFilter::new(name),
        Level::Warn | Level::Info => EnvFilter::new(format!("warn,longwire={name},access={name}")),
    }
}

/// Lines lost so far because nobody read the log, or it could not be written.
pub fn dropped_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64);
    dropped + UNWRITTEN.load(Ordering::Relaxed)
}

/// What the log's thread writes to.
struct Output {
    sink: Sink,
    /// Lost lines that were told of.
    told: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    /// Writes one line.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.sink.write_all(line);
        if written.is_err() {
            UNWRITTEN.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    /// Called when no line waits any more: so there is room for one that tells of those that were
    /// lost, and it stands where they would have stood.
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()?;
        let lost = dropped_lines();
        if lost > self.told {
            tracing::warn!(lines = lost - self.told, "log lines were lost");
            self.told = lost;
        }
        Ok(())
    }
}
