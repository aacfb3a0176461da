//! Checks over several tables: addresses that are bound twice, routes that tie.

use std::collections::{HashMap, HashSet};

use super::route::ReadRoute;
use crate::config::model::{Bind, HostPattern, PathPattern, Route};
use crate::config::read::{Place, Reader, Written};

/// Reports addresses that are written twice. Port 0 is a different one each time.
///
/// A default comes first, because only what is written can be reported.
pub(super) fn binds(reader: &Reader<'_>, mut binds: Vec<Written<Bind>>) {
    binds.sort_by_key(|bind| bind.place.position());
    let mut first: HashMap<&Bind, &Place> = HashMap::new();
    let is_chosen_by_system =
        |bind: &Bind| matches!(bind, Bind::Tcp(address) if address.port() == 0);
    for bind in binds.iter().filter(|bind| !is_chosen_by_system(&bind.value)) {
        match first.get(&bind.value) {
            None => {
                first.insert(&bind.value, &bind.place);
            }
            Some(first) => {
                let message = format!(
                    "expected an address that is not in use, found {} as in {}",
                    bind.text,
                    reader.pointer(first)
                );
                reader.problem(&bind.place, message);
            }
        }
    }
}

/// Reports each route that matches some requests exactly as an earlier one does. Only the first
/// such one is named: a list of routes without any hosts would have more pairs than lines.
pub(super) fn ties(reader: &Reader<'_>, routes: &[ReadRoute]) {
    let mut holders: HashMap<(Option<&HostPattern>, &PathPattern), Vec<usize>> = HashMap::new();
    let mut reported = HashSet::new();
    for (index, read) in routes.iter().enumerate().filter(|(_, read)| read.is_sound) {
        for (host, path) in hosts_and_paths(&read.route) {
            let others = holders.entry((host, path)).or_default();
            for other in others.iter().copied() {
                let first = &routes[other];
                if tie(&read.route, &first.route) && reported.insert(index) {
                    let message = format!(
                        "expected a match of its own, found {} as in {}",
                        shown(read, host, path),
                        reader.pointer(&first.place)
                    );
                    reader.misplaced(&read.place, message);
                }
            }
            if others.last() != Some(&index) {
                others.push(index);
            }
        }
    }
}

/// Every host with every path of a route; no host stands for any.
fn hosts_and_paths(route: &Route) -> Vec<(Option<&HostPattern>, &PathPattern)> {
    let hosts: Vec<_> = match route.hosts.as_slice() {
        [] => vec![None],
        hosts => hosts.iter().map(Some).collect(),
    };
    let paths = &route.paths;
    hosts.into_iter().flat_map(|host| paths.iter().map(move |path| (host, path))).collect()
}

/// Whether two routes with a common host and path leave open which one is meant. A route with
/// methods is more specific than one without.
fn tie(a: &Route, b: &Route) -> bool {
    let share = |a: &[String], b: &[String]| a.iter().any(|item| b.contains(item));
    let on_one_listener =
        a.listeners.is_empty() || b.listeners.is_empty() || share(&a.listeners, &b.listeners);
    let with_one_method = match (a.methods.is_empty(), b.methods.is_empty()) {
        (true, true) => true,
        (false, false) => share(&a.methods, &b.methods),
        _ => false,
    };
    on_one_listener && with_one_method
}

/// Host and path as they are written in the file.
fn shown(read: &ReadRoute, host: Option<&HostPattern>, path: &PathPattern) -> String {
    let host = read.hosts.iter().find(|written| Some(&written.value) == host);
    let path = read.paths.iter().find(|written| written.value == *path);
    let host = host.map_or_else(|| "any host".to_owned(), |host| format!("host {}", host.text));
    let path = path.map_or("\"/\"", |path| path.text.as_str());
    format!("{host} with path {path}")
}
