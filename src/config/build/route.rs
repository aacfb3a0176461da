//! `[routes.NAME]`: what it matches and what becomes of it.

use std::collections::HashSet;

use super::matching::{A_HOST, A_METHOD, A_PATH, host, method, path_pattern};
use super::proxy::{PROXY_KEYS, proxy};
use super::upstream::of_url;
use crate::config::defaults;
use crate::config::model::{
    HostPattern, Listener, PathPattern, Respond, Route, Target, Timeouts, Upstream,
};
use crate::config::read::{Place, Table, Value, Written};
use crate::config::suggest::nearest;
use crate::config::units::Invalid;
use crate::config::url::{AN_ENDPOINT, Url, endpoint, is_url};

/// A route, and what is needed to compare it with others.
pub(super) struct ReadRoute {
    /// The route.
    pub route: Route,
    /// Where it begins.
    pub place: Place,
    /// Its hosts with their texts; empty means any.
    pub hosts: Vec<Written<HostPattern>>,
    /// Its paths with their texts; empty means the default.
    pub paths: Vec<Written<PathPattern>>,
    /// Whether what it matches was read without a problem and so is what was meant.
    pub is_sound: bool,
}

/// Reads `[routes]`; adds anonymous upstreams to `upstreams`.
pub(super) fn routes(
    root: &mut Table<'_>,
    listeners: &[Listener],
    upstreams: &mut Vec<Upstream>,
    timeouts: &Timeouts,
) -> Vec<ReadRoute> {
    let reader = root.reader();
    let before = reader.problems();
    let table = root.merged("routes");
    if table.is_empty() && reader.problems() == before {
        reader.misplaced(table.place(), "expected at least one [routes.NAME], found none");
    }
    let mut routes = Vec::new();
    for (name, table) in table.named("route") {
        routes.push(route(name, table, listeners, upstreams, timeouts));
    }
    routes
}

fn route(
    name: String,
    mut table: Table<'_>,
    listeners: &[Listener],
    upstreams: &mut Vec<Upstream>,
    timeouts: &Timeouts,
) -> ReadRoute {
    let reader = table.reader();
    let before = reader.problems();
    let place = table.place().clone();
    let hosts = table.list("hosts", A_HOST, host).unwrap_or_default();
    let paths = paths(&mut table);
    let methods = values(table.list("methods", A_METHOD, method));
    let listeners = values(table.list("listeners", "the name of a listener", |text| {
        one_of(text, "the name of a listener", listeners.iter().map(|l| l.name.as_str()))
    }));
    let is_sound = reader.problems() == before;
    let target = target(&mut table, upstreams, timeouts);
    table.finish();
    let path_patterns = match paths.as_slice() {
        [] => vec![PathPattern::Prefix(defaults::PATH_PREFIX.to_owned())],
        paths => paths.iter().map(|path| path.value.clone()).collect(),
    };
    let host_patterns = hosts.iter().map(|host| host.value.clone()).collect();
    let route =
        Route { name, hosts: host_patterns, paths: path_patterns, methods, listeners, target };
    ReadRoute { route, place, hosts, paths, is_sound }
}

fn paths(table: &mut Table<'_>) -> Vec<Written<PathPattern>> {
    let Some(value) = table.take("paths") else {
        return Vec::new();
    };
    let expected = "an array of at least one path such as [\"/v1/\"]";
    let elements = value.some_elements(expected);
    elements.iter().filter_map(|element| element.parse(A_PATH, path_pattern)).collect()
}

/// `upstream` or `respond`, and the keys that go with it.
fn target(table: &mut Table<'_>, upstreams: &mut Vec<Upstream>, timeouts: &Timeouts) -> Target {
    let reader = table.reader();
    match (table.take("upstream"), table.take("respond")) {
        (None, Some(value)) => {
            for key in PROXY_KEYS {
                if let Some(value) = table.take(key) {
                    let message = "expected only in a route with upstream, found beside respond";
                    reader.problem(value.place(), message);
                }
            }
            Target::Respond(respond(&value))
        }
        (upstream, respond) => {
            if let Some(respond) = &respond
                && upstream.is_some()
            {
                reader.problem(respond.place(), "expected either upstream or respond, found both");
            }
            if upstream.is_none() && respond.is_none() {
                let message = "expected either upstream or respond, found neither";
                reader.misplaced(table.place(), message);
            }
            let name = upstream.and_then(|value| upstream_name(&value, upstreams));
            let name = name.unwrap_or_default();
            Target::Proxy(Box::new(proxy(table, name, timeouts, upstreams)))
        }
    }
}

/// What `upstream` of a route means.
enum Reference {
    Named(String),
    Url(Url),
}

/// The name of an upstream that exists: a URL makes one unless an earlier route had it already.
fn upstream_name(value: &Value<'_>, upstreams: &mut Vec<Upstream>) -> Option<String> {
    let expected = format!("the name of an upstream, or {AN_ENDPOINT}");
    let reference = value.parse(&expected, |text| {
        if is_url(text) {
            return endpoint(text).map(Reference::Url);
        }
        let named = upstreams.iter().map(|upstream| upstream.name.as_str());
        // Anonymous ones cannot be named; this also explains `upstream = "host:port"`.
        let named = named.filter(|name| !name.contains(':'));
        one_of(text, &expected, named).map(Reference::Named).map_err(|invalid| match invalid {
            Invalid { suggestion: None, .. } if text.contains([':', '.']) => Invalid {
                suggestion: endpoint(text).err().and_then(|invalid| invalid.suggestion),
                ..invalid
            },
            invalid => invalid,
        })
    })?;
    match reference.value {
        Reference::Named(name) => Some(name),
        Reference::Url(url) => Some(of_url(url, (value.reader(), value.place()), upstreams)),
    }
}

fn respond(value: &Value<'_>) -> Respond {
    let Some(mut table) = value.table("a table such as { status = 200, body = \"ok\" }") else {
        return Respond { status: defaults::RESPOND_STATUS, body: String::new() };
    };
    let reader = table.reader();
    let status = table.integer("status", usize::from(defaults::RESPOND_STATUS), (200, 599));
    let status = u16::try_from(status).unwrap_or(defaults::RESPOND_STATUS);
    let body =
        table.take("body").and_then(|value| value.parse("a string", |text| Ok(text.to_owned())));
    table.finish();
    // RFC 9110, 15.3.5, 15.3.6, 15.4.5: these never have content.
    if let Some(body) = &body
        && !body.value.is_empty()
        && matches!(status, 204 | 205 | 304)
    {
        reader.problem(&body.place, format!("expected no body with status {status}"));
    }
    Respond { status, body: body.map(|body| body.value).unwrap_or_default() }
}

/// `text`, if it is one of `names`.
fn one_of<'n>(
    text: &str,
    expected: &str,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Result<String, Invalid> {
    if names.clone().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let invalid = Invalid { is_misplaced: true, ..Invalid::new(expected) };
    Err(match nearest(text, names) {
        Some(name) => invalid.suggest(name),
        None => invalid,
    })
}

/// The values of a list, each once.
fn values(list: Option<Vec<Written<String>>>) -> Vec<String> {
    let mut seen = HashSet::new();
    let values = list.unwrap_or_default().into_iter().map(|written| written.value);
    values.filter(|value| seen.insert(value.clone())).collect()
}
