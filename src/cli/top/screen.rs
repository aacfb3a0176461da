//! The lines of the screen. Pure.

use std::io;

use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use unicode_width::UnicodeWidthStr as _;

use super::view::{Mode, Sort, View};
use super::words::{bytes, fit, harmless, rate, span};
use super::world::{Endpoint, Stream, World};

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Look {
    #[default]
    Plain,
    Strong,
    Soft,
    Good,
    Warm,
    Bad,
    /// The row under the cursor, and the heads of columns.
    Reverse,
}

/// A line of pieces.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<(Look, String)>);

impl Line {
    fn add(&mut self, look: Look, text: impl Into<String>) -> &mut Self {
        self.0.push((look, text.into()));
        self
    }

    fn text(&self) -> String {
        self.0.iter().map(|(_, text)| &**text).collect()
    }

    /// Cuts it to so many columns.
    fn cut(mut self, columns: usize) -> Self {
        let mut left = columns;
        for (_, text) in &mut self.0 {
            if text.width() > left {
                *text = fit(text, left, false);
            }
            left -= text.width();
        }
        self
    }

    /// The commands that show it.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        for (look, text) in &self.0 {
            match look {
                Look::Plain => {}
                Look::Strong => queue!(out, SetAttribute(Attribute::Bold))?,
                Look::Soft => queue!(out, SetAttribute(Attribute::Dim))?,
                Look::Good => queue!(out, SetForegroundColor(Color::Green))?,
                Look::Warm => queue!(out, SetForegroundColor(Color::Yellow))?,
                Look::Bad => queue!(out, SetForegroundColor(Color::Red))?,
                Look::Reverse => queue!(out, SetAttribute(Attribute::Reverse))?,
            }
            queue!(out, Print(text), SetAttribute(Attribute::Reset), ResetColor)?;
        }
        Ok(())
    }
}

/// A column of the table of streams.
struct Column {
    head: &'static str,
    sort: Option<Sort>,
    width: usize,
    to_the_right: bool,
    /// Shown only on screens of so many columns.
    from: usize,
    text: fn(&Stream, f64) -> String,
}

const fn column(
    head: &'static str,
    sort: Option<Sort>,
    width: usize,
    from: usize,
    text: fn(&Stream, f64) -> String,
) -> Column {
    Column { head, sort, width, to_the_right: false, from, text }
}

const fn number(
    head: &'static str,
    sort: Option<Sort>,
    width: usize,
    from: usize,
    text: fn(&Stream, f64) -> String,
) -> Column {
    Column { to_the_right: true, ..column(head, sort, width, from, text) }
}

/// In the order of the screen. Those of `WIDE` share what is left over.
const COLUMNS: [Column; 12] = [
    column("STATE", Some(Sort::State), 9, 0, |stream, _| stream.state.clone()),
    column("ROUTE", Some(Sort::Route), 8, 0, |stream, _| stream.route.clone()),
    column("KIND", None, 6, 0, |stream, _| match &*stream.kind {
        "websocket" => "ws".to_owned(),
        kind => kind.to_owned(),
    }),
    column("UPSTREAM", Some(Sort::Upstream), 12, 0, |stream, _| stream.origin()),
    column("WHO", Some(Sort::Who), 9, 0, |stream, _| stream.who().to_owned()),
    number("AGE", Some(Sort::Age), 6, 0, |stream, now| span(now - stream.started)),
    number("FIRST", None, 6, 100, |stream, _| optional(stream.first_byte)),
    number("SILENT", Some(Sort::Silent), 6, 0, |stream, _| optional(stream.since_upstream)),
    number("EV/S", Some(Sort::Rate), 6, 0, |stream, _| {
        stream.events_per_second.map_or_else(|| "-".to_owned(), rate)
    }),
    number("EVENTS", None, 8, 100, |stream, _| stream.events_out.to_string()),
    number("OUT", Some(Sort::Out), 8, 0, |stream, _| bytes(stream.bytes_out as f64)),
    column("ID", None, 16, 140, |stream, _| stream.id.clone()),
];

const WIDE: [&str; 3] = ["ROUTE", "UPSTREAM", "WHO"];

fn optional(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), span)
}

/// Columns that fit, with their widths on a screen of so many.
fn layout(columns: usize) -> Vec<(&'static Column, usize)> {
    let shown: Vec<_> = COLUMNS.iter().filter(|column| column.from <= columns).collect();
    let taken: usize = shown.iter().map(|column| column.width + 1).sum::<usize>() - 1;
    let spare = columns.saturating_sub(taken);
    let share = |column: &Column| match WIDE.iter().position(|head| *head == column.head) {
        // The first ones get what cannot be shared evenly. More than this is only space.
        Some(at) => ((spare + 2 - at) / 3).min(24),
        None => 0,
    };
    shown.into_iter().map(|column| (column, column.width + share(column))).collect()
}

/// The screen as it is to be, with what the view has to know of it.
pub(super) fn lines(world: &World, view: &mut View, columns: usize, rows: usize) -> Vec<Line> {
    let mut lines = header(world, view);
    let room = rows.saturating_sub(lines.len() + 2).max(1);
    if view.shows_upstreams {
        lines.extend(upstreams(world).into_iter().take(room + 1));
    } else {
        lines.extend(table(world, view, columns, room));
    }
    lines.truncate(rows.saturating_sub(1));
    lines.resize_with(rows.saturating_sub(1), Line::default);
    lines.push(footer(world, view));
    lines.into_iter().map(|line| line.cut(columns)).collect()
}

/// The same once, whole, and without colours.
pub(super) fn plain(world: &World, view: &View) -> String {
    let mut lines = header(world, view);
    let rows = view.rows(world);
    // As wide as they need: programs read this.
    let cell = |column: &Column, row: &Stream| harmless(&(column.text)(row, world.now));
    let widths = COLUMNS.each_ref().map(|column| {
        let cells = rows.iter().map(|row| cell(column, row).width());
        cells.max().unwrap_or_default().max(column.head.len())
    });
    let line = |text: &dyn Fn(&Column) -> String| {
        let cells = COLUMNS.iter().zip(widths);
        let cells = cells.map(|(column, width)| fit(&text(column), width, column.to_the_right));
        let mut line = Line::default();
        line.add(Look::Plain, cells.collect::<Vec<_>>().join("  "));
        line
    };
    lines.push(Line::default());
    lines.push(line(&|column| column.head.to_owned()));
    lines.extend(rows.iter().map(|row| line(&|column| cell(column, row))));
    lines.iter().map(|line| format!("{}\n", line.text().trim_end())).collect()
}

fn header(world: &World, view: &View) -> Vec<Line> {
    let mut title = Line::default();
    title.add(Look::Strong, "longwire ").add(Look::Plain, harmless(&world.version));
    title.add(Look::Soft, format!("  up {}  ", span(world.uptime.max(1.0))));
    match &world.lost {
        Some(why) => title.add(Look::Bad, format!("lost: {}", harmless(why))),
        None if view.is_paused => title.add(Look::Warm, "paused"),
        None if world.is_draining => title.add(Look::Warm, "draining"),
        None => title.add(Look::Good, "live"),
    };
    let mut open = Line::default();
    open.add(Look::Strong, world.open().to_string()).add(Look::Plain, " open");
    for kind in ["sse", "websocket", "stream", "http"] {
        let count = world.totals.active.get(kind).copied().unwrap_or_default();
        open.add(Look::Soft, format!("  {count} {kind}"));
    }
    let (totals, rates) = (&world.totals, &world.rates);
    open.add(Look::Plain, format!("  {} connections", totals.connections));
    let mut flow = Line::default();
    let text = format!("{} ev/s  {}/s  ", rate(rates.events), bytes(rates.bytes));
    flow.add(Look::Plain, text + &rate(rates.requests) + " req/s  ");
    let look = if rates.failed_per_minute > 0 { Look::Bad } else { Look::Plain };
    flow.add(look, format!("{} failed/min", rates.failed_per_minute));
    let first = optional(totals.ttft_p50);
    let memory = bytes(totals.resident_bytes as f64);
    flow.add(Look::Plain, format!("  first byte {first}  memory {memory}"));
    vec![title, open, flow, fitness(world)]
}

/// Which endpoints are not as they should be.
fn fitness(world: &World) -> Line {
    let mut line = Line::default();
    let endpoints = world.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let (mut up, mut all) = (0, 0);
    for endpoint in endpoints {
        all += 1;
        up += usize::from(endpoint.state == "up");
    }
    let look = if up < all { Look::Bad } else { Look::Soft };
    line.add(look, format!("{up} of {all} endpoints up"));
    for upstream in &world.upstreams {
        let name = harmless(&upstream.name);
        if upstream.queue_length > 0 {
            line.add(Look::Warm, format!("  {name}: {} waiting", upstream.queue_length));
        }
        for endpoint in upstream.endpoints.iter().filter(|endpoint| endpoint.state != "up") {
            let text = format!("  {name}›{} {}", endpoint.name, endpoint.state);
            line.add(Look::Bad, harmless(&text));
        }
    }
    line
}

fn table(world: &World, view: &mut View, columns: usize, room: usize) -> Vec<Line> {
    let rows = view.rows(world);
    view.order = rows.iter().map(|row| row.number).collect();
    view.page = room;
    let position = |number| view.order.iter().position(|other| *other == number);
    let at = view.selected.and_then(position);
    if at.is_none() && view.mode == Mode::Watch {
        view.selected = None;
    }
    let layout = layout(columns);
    let mut heads = String::new();
    for (column, width) in &layout {
        let is_sorted = column.sort == Some(view.sort);
        let mark = if view.is_reversed { "↑" } else { "↓" };
        let head = column.head.to_owned() + if is_sorted { mark } else { "" };
        heads += &fit(&head, *width, column.to_the_right);
        heads.push(' ');
    }
    let mut lines = vec![Line(vec![(Look::Reverse, fit(heads.trim_end(), columns, false))])];
    // The row under the cursor stays in sight.
    let skipped = at.map_or(0, |at| (at + 1).saturating_sub(room));
    for (number, row) in rows.iter().enumerate().skip(skipped).take(room) {
        let mut line = Line::default();
        for (place, (column, width)) in layout.iter().enumerate() {
            let text = fit(&harmless(&(column.text)(row, world.now)), *width, column.to_the_right);
            let (look, gap) =
                if place == 0 { (state_look(&row.state), "") } else { (Look::Plain, " ") };
            line.add(look, gap.to_owned() + &text);
        }
        if at == Some(number) {
            line = Line(vec![(Look::Reverse, fit(&line.text(), columns, false))]);
        }
        lines.push(line);
    }
    if rows.is_empty() {
        let text = if world.open() == 0 { "no stream is open" } else { "no stream fits" };
        lines.push(Line(vec![(Look::Soft, text.to_owned())]));
    }
    lines
}

fn state_look(state: &str) -> Look {
    match state {
        "streaming" | "up" => Look::Good,
        "waiting" | "draining" | "drained" => Look::Warm,
        "idle" => Look::Soft,
        _ => Look::Bad,
    }
}

fn upstreams(world: &World) -> Vec<Line> {
    let heads = "ENDPOINT                         STATE       STREAMS   IDLE   USED  REUSE";
    let mut lines = vec![Line(vec![(Look::Reverse, heads.to_owned())])];
    for upstream in &world.upstreams {
        for endpoint in &upstream.endpoints {
            let Endpoint { name, state, streams, idle, active, .. } = endpoint;
            let asked = endpoint.requests_new + endpoint.requests_reused;
            let reuse = (100 * endpoint.requests_reused).checked_div(asked);
            let reuse = reuse.map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"));
            let name = harmless(&format!("{}›{name}", upstream.name));
            let mut line = Line::default();
            line.add(Look::Plain, fit(&name, 32, false) + " ");
            line.add(state_look(state), fit(&harmless(state), 10, false));
            line.add(Look::Plain, format!("  {streams:>7}{idle:>7}{active:>7}{reuse:>7}"));
            lines.push(line);
        }
    }
    lines
}

fn footer(world: &World, view: &View) -> Line {
    let mut line = Line::default();
    match (&view.mode, &view.said) {
        (Mode::Confirm { number, id }, _) => {
            let stream = world.stream(*number).unwrap_or_default();
            let (route, who, origin) = (&stream.route, stream.who(), stream.origin());
            let age = span(world.now - stream.started);
            let text = format!("kill {route} of {who} from {origin}, {age} old ({id})? y/n");
            line.add(Look::Bad, harmless(&text));
        }
        (Mode::Filter, _) => {
            line.add(Look::Strong, "filter: ").add(Look::Plain, harmless(&view.filter) + "▏");
        }
        (Mode::Watch, Some(said)) => {
            line.add(Look::Warm, said);
        }
        (Mode::Watch, None) => {
            let sort = view.sort.label();
            line.add(Look::Soft, format!("q quit  ↑↓  s sort: {sort}  r reverse  f filter"));
            if !view.filter.is_empty() {
                line.add(Look::Warm, format!(": {}", harmless(&view.filter)));
            }
            line.add(Look::Soft, "  k kill  p pause  d upstreams");
        }
    }
    line
}

#[cfg(test)]
mod tests;
