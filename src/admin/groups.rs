//! Upstreams, routes and the configuration, as operators see them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Answer, Process};
use crate::clock;
use crate::config::model::Target;
use crate::config::shown::shown;
use crate::live::kind::Kind;

/// `/api/upstreams`
pub(super) fn upstreams(process: &Process) -> Answer {
    Answer::json(200, &json!({ "upstreams": list_upstreams(process) }))
}

/// The upstreams, in the order of the configuration.
pub(super) fn list_upstreams(process: &Process) -> Value {
    let snapshot = process.shared.snapshot.load_full();
    let named = snapshot.config.upstreams.iter().filter_map(|rules| snapshot.upstream(&rules.name));
    named.map(|upstream| json!(upstream.status())).collect()
}

/// `/api/routes`
pub(super) fn routes(process: &Process) -> Answer {
    let snapshot = process.shared.snapshot.load_full();
    let mut active: HashMap<_, [u64; Kind::ALL.len()]> = HashMap::new();
    let (streams, now) = (process.shared.registry.streams(), clock::now());
    for stream in &streams {
        if let Some(identity) = stream.identity() {
            active.entry(&*identity.route).or_default()[stream.look(now).kind as usize] += 1;
        }
    }
    let routes = snapshot.config.routes.iter().map(|route| {
        let counts = active.get(&*route.name).copied().unwrap_or_default();
        let counts = Kind::ALL.iter().zip(counts);
        let counts: Map<_, _> =
            counts.map(|(kind, count)| (kind.label().to_owned(), count.into())).collect();
        json!({
            "name": route.name,
            "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "paths": route.paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "methods": route.methods,
            "upstream": match &route.target {
                Target::Proxy(rules) => Some(&rules.upstream),
                Target::Respond(_) => None,
            },
            "active": counts,
        })
    });
    Answer::json(200, &json!({ "routes": routes.collect::<Vec<_>>() }))
}

/// `/api/config`
pub(super) fn config(process: &Process) -> Answer {
    let snapshot = process.shared.snapshot.load_full();
    Answer::json(200, &json!({ "config": shown(&snapshot.config) }))
}
