//! What a watcher of the table is told: all of it at first, then what has changed.
//!
//! A delta is made by comparing with what this watcher was told last, so a stream costs nothing for
//! being watched, and whoever reads slowly gets fewer deltas rather than a queue of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::past::Past;
use super::registry::Registry;
use super::row::{Row, View, per_second, seconds};
use super::stream::{Look, State, Stream};

/// Streams that one watcher is told of at once: those that are open longest. When one of them
/// ends, the next takes its place.
pub const WATCHED_MAX: usize = 500;

/// Ended ones that a watcher is told of at once, beyond those that it knew.
pub const ENDED_MAX: usize = 100;

/// Time for which [`Totals::ttft_p50`] looks back.
const TTFT_WINDOW: Duration = Duration::from_secs(60);

/// Sums over all exchanges since the start.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "docs/api.md says it")]
pub struct Totals {
    pub active: Map<String, Value>,
    pub states: Map<String, Value>,
    pub opened: u64,
    pub closed: u64,
    pub requests: u64,
    pub failed: u64,
    pub events_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub ttft_p50: Option<f64>,
}

impl Totals {
    /// Of a registry where those of `open` were open a moment ago.
    pub fn new(registry: &Registry, open: &[Arc<Stream>], now: Instant) -> Self {
        let sums = registry.past().sums(open);
        let draining = registry.is_draining();
        let mut active = [0_u64; Kind::ALL.len()];
        let mut states = [0_u64; State::ALL.len()];
        for stream in open {
            let look = stream.look(now);
            active[look.kind as usize] += 1;
            states[State::of(&look, draining) as usize] += 1;
        }
        Self {
            active: named(Kind::ALL.map(Kind::label), active),
            states: named(State::ALL.map(State::label), states),
            opened: registry.entered(),
            closed: sums.closed,
            requests: sums.closed + sums.answered,
            failed: sums.failed,
            events_out: sums.events_out,
            bytes_in: sums.bytes_in,
            bytes_out: sums.bytes_out,
            ttft_p50: ttft_p50(open.iter().chain(&registry.past().streams()), now),
        }
    }
}

fn named<const N: usize>(names: [&str; N], counts: [u64; N]) -> Map<String, Value> {
    names.into_iter().zip(counts).map(|(name, count)| (name.to_owned(), count.into())).collect()
}

/// The median of the times to the first byte of those streams that got it within the last minute.
fn ttft_p50<'s>(streams: impl Iterator<Item = &'s Arc<Stream>>, now: Instant) -> Option<f64> {
    let mut times: Vec<_> = streams
        .filter_map(|stream| {
            let look = stream.look(now);
            let first_byte = look.first_byte.filter(|_| look.kind != Kind::Http)?;
            let since = now.saturating_duration_since(stream.began() + first_byte);
            (since <= TTFT_WINDOW).then_some(first_byte)
        })
        .collect();
    let middle = times.len().checked_sub(1)? / 2;
    times.sort_unstable();
    Some(seconds(times[middle]))
}

/// What has changed since the last time.
#[derive(Debug)]
pub struct Delta {
    /// Rows of those that are new to this watcher.
    pub opened: Vec<Value>,
    /// Number and id of each that has changed, and the fields that have.
    pub changed: Vec<Value>,
    /// Rows of those that have ended, the last first.
    pub ended: Vec<Value>,
}

/// What one watcher knows.
pub struct Feed {
    /// In the order in which they came.
    told: Vec<Told>,
    /// How far it has been told of those that ended.
    past: u64,
    last: Instant,
}

struct Told {
    stream: Arc<Stream>,
    shown: Shown,
}

/// What may change about a stream.
#[derive(Clone, PartialEq)]
struct Shown {
    endpoint: Option<Arc<str>>,
    connection: Option<&'static str>,
    kind: &'static str,
    state: &'static str,
    first_byte: Option<f64>,
    /// Since it began: it changes when something comes, not as time goes by.
    upstream_at: Option<Duration>,
    client_at: Option<Duration>,
    events_in: u64,
    events_out: u64,
    events_per_second: f64,
    bytes_in: u64,
    bytes_out: u64,
    heartbeats: u64,
    slowest_gap: f64,
}

impl Feed {
    /// For a watcher who is told all rows of `open` and `past` now, as far as there is room; gives
    /// them, too.
    pub fn begin(open: &[Arc<Stream>], past: &Past, view: View) -> (Self, Delta) {
        let mut feed = Self { told: Vec::new(), past: 0, last: view.now };
        let delta = feed.look(open, past, view);
        (feed, delta)
    }

    /// What has changed since the last time.
    pub fn look(&mut self, open: &[Arc<Stream>], past: &Past, view: View) -> Delta {
        let passed = view.now.saturating_duration_since(self.last);
        self.last = view.now;
        let mut changed = Vec::new();
        let mut ended = Vec::new();
        self.told.retain_mut(|told| {
            let look = told.stream.look(view.now);
            // Not as soon as it ends: it is among the past only a moment later, and would be told
            // of once more then.
            if told.stream.is_past() {
                ended.push(Arc::clone(&told.stream));
                return false;
            }
            changed.extend(told.change(&look, view, passed));
            true
        });
        let known: HashSet<_> = ended.iter().map(Arc::as_ptr).collect();
        let (new_past, number) = past.since(self.past);
        self.past = number;
        let unknown = new_past.into_iter().filter(|stream| !known.contains(&Arc::as_ptr(stream)));
        ended.extend(unknown.take(ENDED_MAX));
        let when = |stream: &Arc<Stream>| stream.ended().map(|end| stream.began() + end.duration);
        ended.sort_by_cached_key(|stream| std::cmp::Reverse(when(stream)));
        let opened = self.tell(open, view);
        let ended = ended.iter().filter_map(|stream| row(stream, view)).collect();
        Delta { opened, changed, ended }
    }

    /// Takes in those of `open` that are new, as far as there is room.
    fn tell(&mut self, open: &[Arc<Stream>], view: View) -> Vec<Value> {
        let room = WATCHED_MAX.saturating_sub(self.told.len());
        if room == 0 {
            return Vec::new();
        }
        let known: HashSet<_> = self.told.iter().map(|told| Arc::as_ptr(&told.stream)).collect();
        let is_new = |stream: &&Arc<Stream>| !known.contains(&Arc::as_ptr(stream));
        let new = open.iter().filter(is_new).filter(|stream| stream.ended().is_none());
        let new: Vec<_> = new.take(room).cloned().collect();
        new.into_iter()
            .filter_map(|stream| {
                let value = row(&stream, view)?;
                let rate = value["events_per_second"].as_f64().unwrap_or_default();
                let shown = Shown::new(&stream, &stream.look(view.now), view, rate);
                self.told.push(Told { stream, shown });
                Some(value)
            })
            .collect()
    }
}

impl Told {
    /// The fields that have changed, with number and id, if any have.
    fn change(&mut self, look: &Look, view: View, passed: Duration) -> Option<Value> {
        let events = look.events_out.saturating_sub(self.shown.events_out);
        let shown = Shown::new(&self.stream, look, view, per_second(events, passed));
        if shown == self.shown {
            return None;
        }
        let before = std::mem::replace(&mut self.shown, shown);
        let mut fields = self.shown.difference(&before, look.age);
        fields.insert("number".to_owned(), json!(self.stream.number()));
        fields.insert("id".to_owned(), json!(&*self.stream.identity()?.id));
        Some(Value::Object(fields))
    }
}

impl Shown {
    fn new(stream: &Stream, look: &Look, view: View, events_per_second: f64) -> Self {
        Self {
            endpoint: stream.endpoint(),
            connection: look.connection,
            kind: look.kind.label(),
            state: State::of(look, view.draining).label(),
            first_byte: look.first_byte.map(seconds),
            upstream_at: look.last_upstream,
            client_at: look.last_client,
            events_in: look.events_in,
            events_out: look.events_out,
            events_per_second,
            bytes_in: look.bytes_in,
            bytes_out: look.bytes_out,
            heartbeats: look.heartbeats,
            slowest_gap: seconds(look.slowest_gap),
        }
    }

    fn difference(&self, before: &Self, age: Duration) -> Map<String, Value> {
        let since = |moment: Option<Duration>| moment.map(|at| seconds(age.saturating_sub(at)));
        let mut fields = Map::new();
        macro_rules! compare {
            ($($field:ident),*) => {
                $(if self.$field != before.$field {
                    fields.insert(stringify!($field).to_owned(), json!(self.$field));
                })*
            };
        }
        compare!(endpoint, connection, kind, state, first_byte, events_in, events_out);
        compare!(events_per_second, bytes_in, bytes_out, heartbeats, slowest_gap);
        for (name, at, last) in [
            ("since_upstream", self.upstream_at, before.upstream_at),
            ("since_client", self.client_at, before.client_at),
        ] {
            if at != last {
                fields.insert(name.to_owned(), json!(since(at)));
            }
        }
        fields
    }
}

fn row(stream: &Stream, view: View) -> Option<Value> {
    serde_json::to_value(Row::new(stream, view)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::live::past::tests::identity;
    use crate::live::reason::CloseReason;
    use crate::live::stream::End;

    fn stream(id: usize, began: Instant) -> Arc<Stream> {
        let stream = Stream::new(began);
        stream.identify(id as u64, identity(&id.to_string()));
        stream.opened(Kind::Sse);
        Arc::new(stream)
    }

    fn ids(rows: &[Value]) -> Vec<&str> {
        rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
    }

    fn end(stream: &Arc<Stream>, past: &Past) {
        let duration = Duration::from_secs(1);
        stream.ends(End { reason: CloseReason::Completed, status: 200, duration });
        past.left(stream);
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let (began, secs) = (clock::now(), Duration::from_secs);
        let view = |at| View { now: began + secs(at), draining: false, trusted: true };
        let past = Past::default();
        let mut open = vec![stream(1, began), stream(2, began)];
        let (mut feed, snapshot) = Feed::begin(&open, &past, view(1));
        assert_eq!(ids(&snapshot.opened), ["1", "2"]);
        let quiet = feed.look(&open, &past, view(2));
        assert!(quiet.opened.is_empty() && quiet.changed.is_empty() && quiet.ended.is_empty());

        open[1].came_down(100, 10, began + secs(3));
        let delta = feed.look(&open, &past, view(4));
        let expected = json!([{
            "number": 2, "id": "2", "bytes_out": 100, "events_out": 10, "events_per_second": 5.0,
            "since_upstream": 1.0, "state": "streaming",
        }]);
        assert_eq!(Value::Array(delta.changed), expected);
        let delta = feed.look(&open, &past, view(5));
        let expected = json!([{ "number": 2, "id": "2", "events_per_second": 0.0 }]);
        assert_eq!(Value::Array(delta.changed), expected);

        end(&open[0], &past);
        let unseen = stream(3, began);
        end(&unseen, &past);
        open.push(stream(4, began));
        let delta = feed.look(&open, &past, view(6));
        assert_eq!((ids(&delta.opened), ids(&delta.ended)), (vec!["4"], vec!["1", "3"]));
        assert_eq!(delta.ended[0]["ended"]["reason"], "completed");
        let delta = feed.look(&open, &past, view(7));
        assert!(delta.opened.is_empty() && delta.ended.is_empty());
    }

    /// Its end is seen before it is among the past, or after; it is told of once.
    #[test]
    fn an_end_is_told_once() {
        let view = View { now: clock::now(), draining: false, trusted: true };
        let past = Past::default();
        let mut open = vec![stream(1, view.now)];
        let (mut feed, _) = Feed::begin(&open, &past, view);
        let duration = Duration::from_secs(1);
        open[0].ends(End { reason: CloseReason::Completed, status: 200, duration });
        let told = |feed: &mut Feed, open: &[_]| ids(&feed.look(open, &past, view).ended).join(" ");
        assert_eq!(told(&mut feed, &open), "");
        past.left(&open.remove(0));
        assert_eq!(told(&mut feed, &open), "1");
        assert_eq!(told(&mut feed, &open), "");
    }

    #[test]
    fn a_watcher_knows_so_many_and_no_more() {
        let now = clock::now();
        let view = View { now, draining: false, trusted: true };
        let past = Past::default();
        let mut open: Vec<_> = (0..WATCHED_MAX + 2).map(|id| stream(id, now)).collect();
        let (mut feed, snapshot) = Feed::begin(&open, &past, view);
        assert_eq!(snapshot.opened.len(), WATCHED_MAX);
        end(&open.remove(7), &past);
        let delta = feed.look(&open, &past, view);
        assert_eq!(ids(&delta.ended), ["7"]);
        assert_eq!(ids(&delta.opened), [WATCHED_MAX.to_string()], "the next takes its place");
    }

    #[test]
    fn the_median_is_that_of_the_last_minute() {
        let (began, secs) = (clock::now(), Duration::from_secs);
        let streams: Vec<_> = [1, 2, 30, 40].map(|at| (at, stream(at as usize, began))).into();
        for (at, stream) in &streams {
            stream.first_byte(began + secs(*at));
        }
        let median = |at| ttft_p50(streams.iter().map(|(_, s)| s), began + secs(at));
        assert_eq!(median(40), Some(2.0));
        assert_eq!(median(70), Some(30.0));
        assert_eq!(median(101), None);
    }
}
