//! The log as text: a line for a person. Those of exchanges have columns, so that eyes find what
//! differs; everything else is a sentence with its facts behind it. JSON says more.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::access;

mod units;

/// Writes events as text, in colour if the writer may.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut facts = Facts::default();
        event.record(&mut facts);
        let paint = Paint(writer.has_ansi_escapes());
        let mut line = String::with_capacity(256);
        time(&mut line, paint)?;
        let (level, colour) = match *metadata.level() {
            Level::ERROR => ("ERROR", RED),
            Level::WARN => ("WARN ", YELLOW),
            Level::INFO => ("INFO ", GREEN),
            Level::DEBUG => ("DEBUG", BLUE),
            Level::TRACE => ("TRACE", DIM),
        };
        write!(line, " {} ", paint.with(colour, level))?;
        if metadata.target() == access::TARGET {
            exchange(&mut line, &facts, paint)?;
        } else {
            let target = facts.text("log.target").unwrap_or_else(|| metadata.target());
            sentence(&mut line, &facts, target, paint)?;
        }
        writeln!(writer, "{}", line.trim_end())
    }
}

/// UTC, to the millisecond.
fn time(line: &mut String, paint: Paint) -> fmt::Result {
    let mut time = String::with_capacity(32);
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    match time.split_at_checked("2026-01-01T00:00:00.000".len()) {
        Some((short, _)) => write!(line, "{}", paint.with(DIM, format_args!("{short}Z"))),
        None => write!(line, "{}", paint.with(DIM, time)),
    }
}

/// A line of an exchange.
fn exchange(line: &mut String, facts: &Facts, paint: Paint) -> fmt::Result {
    let text = |name| facts.text(name).filter(|text| !text.is_empty()).unwrap_or("-");
    let (message, status) = (text("message"), facts.whole("status").unwrap_or_default());
    let is_end = message == "end";
    let colour = match status {
        500.. => RED,
        400.. => YELLOW,
        _ => GREEN,
    };
    write!(line, "{message:<4} {:<12} {:<9} ", text("route"), text("kind"))?;
    write!(line, "{} ", paint.with(colour, status))?;
    if is_end {
        let colour = if facts.text("error") == Some("true") { RED } else { PLAIN };
        let reason = format!("{:<16}", text("reason"));
        write!(line, "{} ", paint.with(colour, reason))?;
        let seconds = |name| facts.real(name).map_or_else(|| "-".to_owned(), units::seconds);
        write!(line, "{:>6} ", seconds("duration_seconds"))?;
        write!(line, "{} {:>6} ", paint.with(DIM, "ttfb"), seconds("first_byte_seconds"))?;
        let events = facts.whole("events").unwrap_or_default();
        write!(line, "{events:>6} {} ", paint.with(DIM, "events"))?;
        for (word, name) in [("in", "bytes_in"), ("out", "bytes_out")] {
            let size = units::size(facts.whole(name).unwrap_or_default());
            write!(line, "{} {size:>8} ", paint.with(DIM, word))?;
        }
    }
    write!(line, " {}  {} {}", text("endpoint"), text("method"), clean(text("path")))?;
    for (name, usual) in [
        ("principal", None),
        ("attempts", Some(1)),
        ("heartbeats", Some(0)),
        ("close_code", None),
        ("closed_by", None),
        ("client", None),
        ("id", None),
        ("trace_id", None),
    ] {
        // Those that say something: no try at all belongs to an answer of our own.
        let is_usual = usual.is_some() && facts.whole(name) <= usual;
        if let Some(value) = facts.shown(name).filter(|_| !is_usual) {
            write!(line, " {}{}", paint.with(DIM, format_args!("{name}=")), clean(&value))?;
        }
    }
    Ok(())
}

/// A line of anything else. Who says it is told only where it is not us.
fn sentence(line: &mut String, facts: &Facts, target: &str, paint: Paint) -> fmt::Result {
    if !target.starts_with(env!("CARGO_PKG_NAME")) {
        write!(line, "{}", paint.with(DIM, format_args!("{target}: ")))?;
    }
    let message = facts.text("message").unwrap_or_default();
    write!(line, "{}", message.escape_debug())?;
    for (name, _) in &facts.0 {
        if *name != "message"
            && !name.starts_with("log.")
            && let Some(value) = facts.shown(name)
        {
            write!(line, " {}{}", paint.with(DIM, format_args!("{name}=")), clean(&value))?;
        }
    }
    Ok(())
}

/// In quotes if it has spaces, and without anything that a terminal would obey: some of it is what
/// clients send.
fn clean(text: &str) -> Cow<'_, str> {
    match text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        true if !text.is_empty() => Cow::Borrowed(text),
        _ => Cow::Owned(format!("{text:?}")),
    }
}

/// What an event tells, in its order.
#[derive(Default)]
struct Facts(Vec<(&'static str, Fact)>);

enum Fact {
    Whole(u64),
    Real(f64),
    Text(String),
}

impl Facts {
    fn find(&self, name: &str) -> Option<&Fact> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, fact)| fact)
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Fact::Text(text) => Some(text),
            _ => None,
        }
    }

    fn whole(&self, name: &str) -> Option<u64> {
        match self.find(name)? {
            Fact::Whole(number) => Some(*number),
            _ => None,
        }
    }

    fn real(&self, name: &str) -> Option<f64> {
        match self.find(name)? {
            Fact::Real(number) => Some(*number),
            _ => None,
        }
    }

    fn shown(&self, name: &str) -> Option<Cow<'_, str>> {
        Some(match self.find(name)? {
            Fact::Whole(number) => Cow::Owned(number.to_string()),
            Fact::Real(number) => Cow::Owned(number.to_string()),
            Fact::Text(text) => Cow::Borrowed(text),
        })
    }
}

impl Visit for Facts {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Fact::Whole(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), Fact::Real(value)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Fact::Text(value.to_owned())));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), Fact::Text(format!("{value:?}"))));
    }
}

/// Whether there is colour.
#[derive(Clone, Copy)]
struct Paint(bool);

/// The numbers of SGR (ECMA-48 §8.3.117).
const PLAIN: u8 = 0;
const DIM: u8 = 2;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const BLUE: u8 = 34;

impl Paint {
    fn with<T: fmt::Display>(self, colour: u8, text: T) -> Painted<T> {
        Painted { colour: if self.0 { colour } else { PLAIN }, text }
    }
}

struct Painted<T> {
    colour: u8,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.colour {
            PLAIN => self.text.fmt(f),
            colour => write!(f, "\x1b[{colour}m{}\x1b[0m", self.text),
        }
    }
}

#[cfg(test)]
mod tests;
