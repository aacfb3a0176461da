//! What is known of the process, made from what it says. Pure.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::feed::Said;

/// What the process said last.
#[derive(Default)]
pub(super) struct World {
    /// By number: clients may choose their ids.
    streams: HashMap<u64, Map<String, Value>>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) totals: Totals,
    /// Per second, between the last two events.
    pub(super) rates: Rates,
    /// Its clock, in seconds since 1970.
    pub(super) now: f64,
    pub(super) version: String,
    pub(super) uptime: f64,
    pub(super) is_draining: bool,
    pub(super) may_kill: bool,
    /// Why it cannot be heard, while it cannot.
    pub(super) lost: Option<String>,
    /// When how many had failed, for the last minute.
    failed: Vec<(f64, u64)>,
}

/// An open stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) route: String,
    pub(super) upstream: String,
    pub(super) endpoint: Option<String>,
    pub(super) kind: String,
    pub(super) principal: Option<String>,
    pub(super) client: Option<String>,
    pub(super) state: String,
    pub(super) started: f64,
    pub(super) first_byte: Option<f64>,
    pub(super) since_upstream: Option<f64>,
    pub(super) events_per_second: Option<f64>,
    pub(super) events_out: u64,
    pub(super) bytes_out: u64,
}

impl Stream {
    /// Who reads it.
    pub(super) fn who(&self) -> &str {
        self.principal.as_deref().or(self.client.as_deref()).unwrap_or("unix socket")
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}›{endpoint}", self.upstream),
            None => self.upstream.clone(),
        }
    }
}

/// A group of endpoints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) queue_length: u64,
    pub(super) endpoints: Vec<Endpoint>,
}

/// One address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) streams: u64,
    pub(super) idle: u64,
    pub(super) active: u64,
    pub(super) requests_new: u64,
    pub(super) requests_reused: u64,
}

/// Counts since the process began.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub(super) active: HashMap<String, u64>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) events_out: u64,
    pub(super) bytes_out: u64,
    pub(super) ttft_p50: Option<f64>,
    pub(super) resident_bytes: u64,
    pub(super) connections: u64,
}

/// What is made of the counts.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    pub(super) events: f64,
    pub(super) bytes: f64,
    pub(super) requests: f64,
    pub(super) failed_per_minute: u64,
}

impl World {
    /// Takes in an event.
    pub(super) fn hear(&mut self, said: &Said) {
        let (value, is_all) = match said {
            Said::Snapshot(value) => (value, true),
            Said::Delta(value) => (value, false),
        };
        let list = |key: &str| value[key].as_array().map_or(&[][..], Vec::as_slice);
        if is_all {
            self.streams.clear();
            value["version"].as_str().unwrap_or_default().clone_into(&mut self.version);
            self.may_kill = value["allow_kill"].as_bool().unwrap_or_default();
        }
        for stream in list("streams").iter().chain(list("opened")) {
            self.merge(stream);
        }
        for change in list("changed") {
            // One that is not listed is not shown by half.
            if change["number"].as_u64().is_some_and(|number| self.streams.contains_key(&number)) {
                self.merge(change);
            }
        }
        if !is_all {
            for stream in list("ended") {
                stream["number"].as_u64().and_then(|number| self.streams.remove(&number));
            }
        }
        if value["upstreams"].is_array() {
            self.upstreams = Vec::deserialize(&value["upstreams"]).unwrap_or_default();
        }
        self.is_draining = value["draining"].as_bool().unwrap_or_default();
        self.lost = None;
        let now = value["now"].as_f64().unwrap_or(self.now);
        match value["uptime"].as_f64() {
            Some(uptime) => self.uptime = uptime,
            None => self.uptime += now - self.now,
        }
        self.count(Totals::deserialize(&value["totals"]).unwrap_or_default(), now);
    }

    fn merge(&mut self, stream: &Value) {
        let (Some(fields), Some(number)) = (stream.as_object(), stream["number"].as_u64()) else {
            return;
        };
        self.streams.entry(number).or_default().extend(fields.clone());
    }

    fn count(&mut self, totals: Totals, now: f64) {
        let gap = now - self.now;
        let is_next = self.now > 0.0 && gap > 0.0;
        // Counts that went back are those of another process.
        let rate = |new: u64, old: u64| match new.checked_sub(old) {
            Some(more) if is_next => more as f64 / gap,
            _ => 0.0,
        };
        if self.failed.last().is_some_and(|(_, failed)| *failed > totals.failed) {
            self.failed.clear();
        }
        self.failed.push((now, totals.failed));
        self.failed.retain(|(at, _)| *at >= now - 60.0);
        self.rates = Rates {
            events: rate(totals.events_out, self.totals.events_out),
            bytes: rate(totals.bytes_out, self.totals.bytes_out),
            requests: rate(totals.requests, self.totals.requests),
            failed_per_minute: totals.failed - self.failed[0].1,
        };
        self.totals = totals;
        self.now = now;
    }

    /// All open streams that are listed.
    pub(super) fn streams(&self) -> Vec<Stream> {
        let streams = self.streams.values().cloned();
        streams.filter_map(|stream| Stream::deserialize(Value::Object(stream)).ok()).collect()
    }

    /// One of them.
    pub(super) fn stream(&self, number: u64) -> Option<Stream> {
        Stream::deserialize(Value::Object(self.streams.get(&number)?.clone())).ok()
    }

    /// How many are open, listed or not.
    pub(super) fn open(&self) -> u64 {
        self.totals.active.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_make_a_world() {
        let mut world = World::default();
        world.hear(&Said::Snapshot(json!({
            "now": 100.0, "version": "1", "uptime": 5.0, "allow_kill": true,
            "totals": { "active": { "sse": 2 }, "events_out": 10, "failed": 1 },
            "streams": [
                { "number": 1, "id": "a", "state": "waiting" },
                { "number": 2, "id": "a", "events_out": 3 },
            ],
            "upstreams": [{ "name": "up" }],
        })));
        assert_eq!((world.open(), world.streams().len(), world.rates), (2, 2, Rates::default()));
        world.hear(&Said::Delta(json!({
            "now": 102.0, "draining": true,
            "totals": { "active": { "sse": 2 }, "events_out": 30, "failed": 3 },
            "opened": [{ "number": 3, "id": "c" }],
            "changed": [
                { "number": 2, "id": "a", "events_out": 9 },
                { "number": 9, "id": "unlisted", "events_out": 1 },
            ],
            "ended": [{ "number": 1, "id": "a" }],
        })));
        let mut left: Vec<_> = world.streams().into_iter().map(|s| (s.id, s.events_out)).collect();
        left.sort();
        assert_eq!(left, [("a".to_owned(), 9), ("c".to_owned(), 0)]);
        assert!(world.is_draining && world.may_kill && world.upstreams.len() == 1);
        assert_eq!(world.uptime, 7.0);
        let rates = Rates { events: 10.0, failed_per_minute: 2, ..Rates::default() };
        assert_eq!(world.rates, rates);
        // Another process: its counts begin anew.
        world.hear(&Said::Snapshot(json!({ "now": 103.0, "totals": { "events_out": 1 } })));
        assert_eq!((world.rates, world.streams().len()), (Rates::default(), 0));
    }
}
