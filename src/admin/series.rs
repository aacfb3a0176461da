//! The page with series of each stream, in Prometheus' text format.
//!
//! A page of its own, because its series come and go with the streams: whoever wants them scrapes
//! them, and the main page stays as it is.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::Process;
use crate::clock;
use crate::config::model::PerConnection;
use crate::live::kind::Kind;
use crate::live::stream::{Look, Stream};

/// The values of a family, each with what its labels end with.
type Samples = fn(&Look) -> Vec<(&'static str, f64)>;

/// Name, type, help text, samples.
const FAMILIES: &[(&str, &str, &str, Samples)] = &[
    ("bytes_total", "counter", "Body bytes, from the client (in) and to it (out).", |look| {
        both(look.bytes_in, look.bytes_out)
    }),
    ("events_total", "counter", "Events.", |look| both(look.events_in, look.events_out)),
    ("age_seconds", "gauge", "Time since the request was read.", |look| {
        vec![("", look.age.as_secs_f64())]
    }),
    ("upstream_silence_seconds", "gauge", "Time since the last byte of the upstream.", |look| {
        let silence = look.last_upstream.map(|at| look.age.saturating_sub(at));
        silence.map(|silence| ("", silence.as_secs_f64())).into_iter().collect()
    }),
];

fn both(inward: u64, outward: u64) -> Vec<(&'static str, f64)> {
    vec![(",direction=\"in\"", inward as f64), (",direction=\"out\"", outward as f64)]
}

/// How many streams have no room on the page; 0 if there is no such page.
pub(super) fn omitted(process: &Process, rules: &PerConnection) -> usize {
    if !rules.enabled {
        return 0;
    }
    streams(process).count().saturating_sub(rules.max_series)
}

/// The page with at most that many streams: those that are open longest, so that those on it stay
/// on it.
pub(super) fn page(process: &Process, most: usize) -> String {
    let mut ids = HashSet::new();
    let now = clock::now();
    let rows: Vec<_> = streams(process)
        .take(most)
        .filter_map(|stream| {
            let identity = stream.identity()?;
            let look = stream.look(now);
            // Two series of one name would spoil the page, and clients may choose their ids.
            ids.insert(identity.id.clone()).then(|| {
                let endpoint = stream.endpoint();
                let names = [
                    ("stream", &*identity.id),
                    ("route", &identity.route),
                    ("upstream", &identity.upstream),
                    ("endpoint", endpoint.as_deref().unwrap_or_default()),
                    ("kind", look.kind.label()),
                ];
                (
                    names.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).join(","),
                    look,
                )
            })
        })
        .collect();
    let mut page = String::new();
    for (name, kind, help, samples) in FAMILIES {
        // Writing into a string cannot fail.
        let _ = writeln!(page, "# HELP longwire_stream_{name} {help}");
        let _ = writeln!(page, "# TYPE longwire_stream_{name} {kind}");
        for (labels, look) in &rows {
            for (more, value) in samples(look) {
                let _ = writeln!(page, "longwire_stream_{name}{{{labels}{more}}} {value}");
            }
        }
    }
    page
}

/// Those that are streams, the one that is open longest first.
fn streams(process: &Process) -> impl Iterator<Item = Arc<Stream>> {
    let streams = process.shared.registry.streams().into_iter();
    streams.filter(|stream| stream.look(stream.began()).kind != Kind::Http)
}

/// Prometheus' text format: `\`, `"` and line feeds are escaped in the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_its_label() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
