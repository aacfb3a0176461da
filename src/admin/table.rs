//! The table of streams: those that are open, those that have ended, and one of them.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use super::{Answer, Process};
use crate::clock;
use crate::live::query::Query;
use crate::live::row::{Row, View, since_epoch, timeline};
use crate::live::stream::Stream;
use crate::proxy::reply::Denial;

/// The id in `/api/streams/{id}`.
pub(super) fn id_in(path: &str) -> Option<Cow<'_, str>> {
    let id = path.strip_prefix("/api/streams/")?;
    let is_one = !id.is_empty() && !id.contains('/');
    is_one.then(|| percent_decode_str(id).decode_utf8().ok()).flatten()
}

/// The number of a stream in the part of a target behind its `?`.
pub(super) fn number_in(query: &str) -> Result<Option<u64>, Denial> {
    match query.strip_prefix("number=").map(str::parse) {
        None if query.is_empty() => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        _ => Err(Denial::bad_request("the only parameter is number".to_owned())),
    }
}

/// There is no stream with that id.
pub(super) fn missing(id: &str) -> Denial {
    Denial::new(404, "not_found", format!("there is no stream \"{id}\""))
}

/// How things are seen now.
pub(super) fn view(process: &Process, trusted: bool) -> View {
    View { now: clock::now(), draining: process.shared.registry.is_draining(), trusted }
}

/// `/api/streams`
pub(super) fn open(process: &Process, query: &str, trusted: bool) -> Answer {
    let streams = process.shared.registry.streams();
    match Query::parse(query, false) {
        Ok(query) => page(&query, &streams, view(process, trusted)),
        Err(wrong) => Denial::bad_request(wrong).into(),
    }
}

/// `/api/streams/ended`
pub(super) fn ended(process: &Process, query: &str, trusted: bool) -> Answer {
    let streams = process.shared.registry.past().streams();
    match Query::parse(query, true) {
        Ok(query) => page(&query, &streams, view(process, trusted)),
        Err(wrong) => Denial::bad_request(wrong).into(),
    }
}

/// Written without a detour: it may be megabytes.
#[derive(Serialize)]
struct Page<'a> {
    now: f64,
    total: usize,
    matched: usize,
    streams: Vec<Row<'a>>,
}

fn page(query: &Query, streams: &[Arc<Stream>], view: View) -> Answer {
    let rows = streams.iter().filter_map(|stream| Row::new(stream, view));
    let (matched, rows) = query.answer(rows);
    let now = since_epoch(clock::wall());
    Answer::json(200, &Page { now, total: streams.len(), matched, streams: rows })
}

/// `/api/streams/{id}`; `?number=` says which one, where several share an id.
pub(super) fn one(process: &Process, id: &str, query: &str, trusted: bool) -> Answer {
    let number = match number_in(query) {
        Ok(number) => number,
        Err(denial) => return denial.into(),
    };
    let registry = &process.shared.registry;
    let is_meant = |stream: &Arc<Stream>| {
        let has_id = stream.identity().is_some_and(|is| *is.id == *id);
        has_id && number.is_none_or(|number| stream.number() == number)
    };
    let open = registry.streams().into_iter().find(is_meant);
    let stream = open.or_else(|| registry.past().streams().into_iter().find(is_meant));
    let view = view(process, trusted);
    let found = stream.as_ref().and_then(|stream| Some((stream, Row::new(stream, view)?)));
    let Some((stream, row)) = found else { return missing(id).into() };
    let mut body = json!(row);
    body["timeline"] = json!(timeline(&stream.look(view.now)));
    Answer::json(200, &body)
}
