//! A stream as operators see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::stream::{Look, State, Stream};

/// How everything is seen at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The moment.
    pub now: Instant,
    /// The process drains.
    pub draining: bool,
    /// Whoever looks has proved to be an operator, and may see whole addresses.
    pub trusted: bool,
}

/// One row. Times are in seconds.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "docs/api.md says it, and `Look`")]
pub struct Row<'a> {
    pub number: u64,
    pub id: &'a str,
    pub route: &'a str,
    pub upstream: &'a str,
    pub endpoint: Option<Arc<str>>,
    pub connection: Option<&'static str>,
    pub kind: &'static str,
    pub principal: Option<&'a str>,
    pub client: Option<String>,
    pub version: &'static str,
    pub state: &'static str,
    pub started: f64,
    pub age: f64,
    pub first_byte: Option<f64>,
    pub since_upstream: Option<f64>,
    pub since_client: Option<f64>,
    pub events_in: u64,
    pub events_out: u64,
    /// Over its whole life, from its first byte on.
    pub events_per_second: f64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub heartbeats: u64,
    pub slowest_gap: f64,
    pub ended: Option<Ended>,
}

/// How and when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "docs/api.md says it")]
pub struct Ended {
    pub at: f64,
    pub duration: f64,
    pub reason: &'static str,
    pub status: u16,
}

impl<'a> Row<'a> {
    /// That of `stream`; none if it was answered without an upstream.
    pub fn new(stream: &'a Stream, view: View) -> Option<Self> {
        let identity = stream.identity()?;
        let look = stream.look(view.now);
        let since =
            |moment: Option<Duration>| moment.map(|at| seconds(look.age.saturating_sub(at)));
        Some(Self {
            number: stream.number(),
            id: &identity.id,
            route: &identity.route,
            upstream: &identity.upstream,
            endpoint: stream.endpoint(),
            connection: look.connection,
            kind: look.kind.label(),
            principal: identity.principal.as_deref(),
            client: identity.client.map(|client| address(client, view.trusted)),
            version: identity.version,
            state: State::of(&look, view.draining).label(),
            started: since_epoch(identity.started),
            age: seconds(look.age),
            first_byte: look.first_byte.map(seconds),
            since_upstream: since(look.last_upstream),
            since_client: since(look.last_client),
            events_in: look.events_in,
            events_out: look.events_out,
            events_per_second: rate(&look),
            bytes_in: look.bytes_in,
            bytes_out: look.bytes_out,
            heartbeats: look.heartbeats,
            slowest_gap: seconds(look.slowest_gap),
            ended: look.ended.map(|end| Ended {
                at: since_epoch(identity.started + end.duration),
                duration: seconds(end.duration),
                reason: end.reason.row().label,
                status: end.status,
            }),
        })
    }
}

/// A step of what became of a stream, at a time since its request was read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// In seconds.
    pub at: f64,
    /// What happened.
    pub what: &'static str,
    /// Why, for the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// What became of a stream, in order.
pub fn timeline(look: &Look) -> Vec<Step> {
    let step =
        |what, at: Option<Duration>| Some((at?, Step { at: seconds(at?), what, reason: None }));
    let ended = look.ended.map(|end| {
        let reason = Some(end.reason.row().label);
        (end.duration, Step { at: seconds(end.duration), what: "ended", reason })
    });
    let steps = [
        step("request", Some(Duration::ZERO)),
        step("connected", look.connected),
        step("sent", look.sent),
        step("head", look.head),
        step("first_byte", look.first_byte),
        step("last_upstream", look.last_upstream),
        step("last_client", look.last_client),
        step("stalled", look.stalled),
        ended,
    ];
    let mut steps: Vec<_> = steps.into_iter().flatten().collect();
    steps.sort_by_key(|(at, _)| *at);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Seconds with microseconds; more digits are noise.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Seconds since 1970, with milliseconds.
pub fn since_epoch(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e3).round() / 1e3
}

/// Events a second since the first byte.
fn rate(look: &Look) -> f64 {
    let flowed = look.age.saturating_sub(look.first_byte.unwrap_or_default());
    per_second(look.events_out, flowed)
}

/// A rate with a tenth of its precision; the first second counts as a whole one.
pub(super) fn per_second(events: u64, time: Duration) -> f64 {
    (events as f64 / time.as_secs_f64().max(1.0) * 10.0).round() / 10.0
}

/// A client's address, or the network that it is in.
fn address(client: IpAddr, whole: bool) -> String {
    match client.to_canonical() {
        client if whole => client.to_string(),
        IpAddr::V4(client) => {
            let [a, b, c, _] = client.octets();
            format!("{a}.{b}.{c}.x")
        }
        IpAddr::V6(client) => {
            let [a, b, ..] = client.segments();
            format!("{a:x}:{b:x}:…")
        }
    }
}

/// What a text is looked for in, for [`super::query`].
impl Row<'_> {
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let endpoint = self.endpoint.as_deref();
        let optional = [endpoint, self.principal, self.client.as_deref()];
        [self.id, self.route, self.upstream, self.kind]
            .into_iter()
            .chain(optional.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::live::kind::Kind;
    use crate::live::past::tests::identity;
    use crate::live::reason::CloseReason;
    use crate::live::stream::{End, Identity};

    #[test]
    fn addresses_are_masked_for_those_who_have_no_token() {
        for (client, whole, masked) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.x"),
            ("2001:db8::1", "2001:db8::1", "2001:db8:…"),
            ("::1", "::1", "0:0:…"),
            ("::ffff:10.0.0.7", "10.0.0.7", "10.0.0.x"),
        ] {
            let client = client.parse().unwrap();
            assert_eq!(address(client, true), whole);
            assert_eq!(address(client, false), masked);
        }
    }

    #[test]
    fn a_row_and_its_timeline() {
        let (began, secs) = (clock::now(), Duration::from_secs);
        let stream = Stream::new(began);
        let view = View { now: began + secs(9), draining: false, trusted: false };
        assert!(Row::new(&stream, view).is_none());
        let started = UNIX_EPOCH + secs(1000);
        let client = Some([10, 0, 0, 7].into());
        stream.identify(5, Identity { started, client, ..identity("a-1") });
        stream.reached("gpu-a".into(), true, began + secs(1));
        stream.answered(began + secs(2));
        stream.opened(Kind::Sse);
        stream.came_down(90, 30, began + secs(6));
        stream.first_byte(began + secs(6));
        let end = End { reason: CloseReason::Killed, status: 200, duration: secs(8) };
        stream.ends(end);
        let row = serde_json::to_value(Row::new(&stream, view).unwrap()).unwrap();
        let expected = serde_json::json!({
            "number": 5, "id": "a-1", "route": "chat", "upstream": "models", "endpoint": "gpu-a",
            "connection": "reused",
            "kind": "sse", "principal": null, "client": "10.0.0.x", "version": "1.1",
            "state": "streaming", "started": 1000.0, "age": 8.0, "first_byte": 6.0,
            "since_upstream": 2.0, "since_client": null, "events_in": 0, "events_out": 30,
            "events_per_second": 15.0, "bytes_in": 0, "bytes_out": 90, "heartbeats": 0,
            "slowest_gap": 4.0,
            "ended": { "at": 1008.0, "duration": 8.0, "reason": "killed", "status": 200 },
        });
        assert_eq!(row, expected);
        let steps = timeline(&stream.look(view.now));
        let steps: Vec<_> = steps.iter().map(|step| (step.at, step.what)).collect();
        let expected = [
            (0.0, "request"),
            (1.0, "connected"),
            (2.0, "head"),
            (6.0, "first_byte"),
            (6.0, "last_upstream"),
            (8.0, "ended"),
        ];
        assert_eq!(steps, expected);
    }
}
