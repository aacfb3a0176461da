//! Which route takes a request. Pure.

use std::cmp::Reverse;

use crate::config::model::{HostPattern, PathPattern, Route, Target};

/// All routes, most specific first.
#[derive(Debug)]
pub struct Router(Vec<Rule>);

/// One host pattern and one path pattern of one route.
#[derive(Debug)]
struct Rule {
    host: Option<HostPattern>,
    path: PathPattern,
    methods: Vec<String>,
    listeners: Vec<String>,
    /// Preflights for its methods are answered by the proxy.
    cors: bool,
    /// The route's place in the configuration.
    route: usize,
}

/// What a route is chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Lower case, without port.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// As it was sent.
    pub method: &'a str,
    /// The method that a CORS preflight asks about, if the request is one.
    pub preflight: Option<&'a str>,
    /// Name of the listener.
    pub listener: &'a str,
}

/// The route that takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'r> {
    /// Its place in the configuration.
    pub route: usize,
    /// The one of its path patterns that fits.
    pub path: &'r PathPattern,
    /// The request is a preflight about one that this route would take, and this route answers it.
    pub answers_preflight: bool,
}

impl Router {
    /// Sorts the routes so that the first that matches is the most specific.
    pub fn new(routes: &[Route]) -> Self {
        let mut rules = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let any = [None];
            let named: Vec<_> = route.hosts.iter().cloned().map(Some).collect();
            let hosts = if named.is_empty() { &any[..] } else { &named };
            let cors = matches!(&route.target, Target::Proxy(proxy) if proxy.cors.is_some());
            for host in hosts {
                rules.extend(route.paths.iter().map(|path| Rule {
                    host: host.clone(),
                    path: path.clone(),
                    methods: route.methods.clone(),
                    listeners: route.listeners.clone(),
                    cors,
                    route: index,
                }));
            }
        }
        rules.sort_by_key(Rule::rank);
        Self(rules)
    }

    /// The route that takes the request. A preflight goes to the route that would take the request
    /// that it is about, if that has `cors`; else it is an OPTIONS like any other, and nobody but
    /// the upstream answers it: what a route's `cors` allows, it allows for itself.
    pub fn find(&self, query: Query<'_>) -> Option<Found<'_>> {
        let first = |method| self.0.iter().find(|rule| rule.matches(Query { method, ..query }));
        let asked = query.preflight.and_then(first).filter(|rule| rule.cors);
        let rule = asked.or_else(|| first(query.method))?;
        Some(Found { route: rule.route, path: &rule.path, answers_preflight: asked.is_some() })
    }
}

impl Rule {
    /// Smaller is more specific: by host, then path, then method.
    fn rank(&self) -> (u8, Reverse<usize>, u8, Reverse<usize>, bool) {
        let (host, host_length) = match &self.host {
            Some(HostPattern::Exact(host)) => (0, host.len()),
            Some(HostPattern::Below(host)) => (1, host.len()),
            None => (2, 0),
        };
        let (path, path_length) = match &self.path {
            PathPattern::Exact(path) => (0, path.len()),
            PathPattern::Prefix(path) => (1, path.len()),
        };
        (host, Reverse(host_length), path, Reverse(path_length), self.methods.is_empty())
    }

    fn matches(&self, query: Query<'_>) -> bool {
        let host = match &self.host {
            None => true,
            Some(HostPattern::Exact(host)) => host == query.host,
            Some(HostPattern::Below(host)) => query
                .host
                .strip_suffix(host.as_str())
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|front| !front.is_empty()),
        };
        let path = match &self.path {
            PathPattern::Exact(path) => path == query.path,
            PathPattern::Prefix(path) => query.path.starts_with(path.as_str()),
        };
        let listed =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|n| n == name);
        host && path
            && listed(&self.methods, query.method)
            && listed(&self.listeners, query.listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Respond;

    fn route(hosts: &[&str], paths: &[&str], methods: &[&str], listeners: &[&str]) -> Route {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Route {
            name: String::new(),
            hosts: hosts
                .iter()
                .map(|host| match host.strip_prefix("*.") {
                    Some(below) => HostPattern::Below(below.to_owned()),
                    None => HostPattern::Exact((*host).to_owned()),
                })
                .collect(),
            paths: paths
                .iter()
                .map(|path| match path.strip_prefix('=') {
                    Some(exact) => PathPattern::Exact(exact.to_owned()),
                    None => PathPattern::Prefix((*path).to_owned()),
                })
                .collect(),
            methods: owned(methods),
            listeners: owned(listeners),
            target: Target::Respond(Respond { status: 200, body: String::new() }),
        }
    }

    #[test]
    fn the_most_specific_wins_whatever_the_order() {
        let routes = [
            route(&[], &["/"], &[], &[]),
            route(&[], &["/v1/"], &[], &[]),
            route(&[], &["=/v1/models"], &[], &[]),
            route(&[], &["/v1/"], &["POST"], &[]),
            route(&["*.example.com"], &["/"], &[], &[]),
            route(&["chat.example.com"], &["/"], &[], &[]),
            route(&["*.eu.example.com"], &["/"], &[], &[]),
            route(&[], &["/inner/"], &[], &["tls"]),
        ];
        let router = Router::new(&routes);
        for (host, path, method, expected) in [
            ("a", "/", "GET", 0),
            ("a", "/v1", "GET", 0),
            ("a", "/v1/chat", "GET", 1),
            ("a", "/v1/models", "POST", 2),
            ("a", "/v1/chat", "POST", 3),
            ("x.example.com", "/v1/models", "GET", 4),
            ("example.com", "/", "GET", 0),
            ("chat.example.com", "/", "GET", 5),
            ("a.eu.example.com", "/", "GET", 6),
            ("badexample.com", "/", "GET", 0),
            (".example.com", "/", "GET", 0),
            ("a", "/inner/", "GET", 0),
        ] {
            let query = Query { host, path, method, preflight: None, listener: "web" };
            let path = &routes[expected].paths[0];
            let found = Found { route: expected, path, answers_preflight: false };
            assert_eq!(router.find(query), Some(found), "{host}{path} {method}");
        }
        let query = Query { host: "a", path: "/", method: "GET", preflight: None, listener: "web" };
        let inner = Query { path: "/inner/", listener: "tls", ..query };
        assert_eq!(router.find(inner).map(|found| found.route), Some(7));
        let none = Router::new(&routes[1..2]);
        assert_eq!(none.find(Query { host: "", ..query }), None);
    }

    #[test]
    fn preflights_reach_the_route_that_they_are_about() {
        let text = r#"
            [listeners.web]
            bind = ["127.0.0.1:0"]
            [routes.read]
            methods = ["GET", "OPTIONS"]
            upstream = "http://a"
            [routes.write]
            methods = ["POST"]
            upstream = "http://a"
            cors.origins = ["*"]
            [routes.rest]
            upstream = "http://a"
            [routes.mixed-read]
            paths = ["/mixed"]
            upstream = "http://a"
            cors.origins = ["*"]
            [routes.mixed-write]
            paths = ["/mixed"]
            methods = ["POST"]
            upstream = "http://a"
        "#;
        let config = crate::config::parse(text, "", &crate::config::SystemEnv).unwrap();
        let router = Router::new(&config.routes);
        for (path, method, preflight, name, answers) in [
            ("/", "OPTIONS", Some("POST"), "write", true),
            ("/", "POST", None, "write", false),
            ("/", "OPTIONS", Some("GET"), "read", false),
            ("/", "OPTIONS", Some("DELETE"), "read", false),
            ("/", "OPTIONS", None, "read", false),
            ("/", "DELETE", None, "rest", false),
            ("/mixed", "OPTIONS", Some("GET"), "mixed-read", true),
            ("/mixed", "OPTIONS", Some("POST"), "mixed-read", false),
        ] {
            let query = Query { host: "a", path, method, preflight, listener: "web" };
            let found = router.find(query).unwrap();
            let found = (config.routes[found.route].name.as_str(), found.answers_preflight);
            assert_eq!(found, (name, answers), "{method} {path} {preflight:?}");
        }
    }
}
