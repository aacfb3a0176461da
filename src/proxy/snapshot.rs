//! Everything that is built from one configuration. An exchange keeps the one it began with.

use std::collections::HashMap;
use std::sync::Arc;

use super::guard::{Guard, GuardError};
use super::limits::Limits;
use crate::config::model::{self, Config, PathPattern, Proxy, Respond, Target};
use crate::route::{Found, Query, Router};
use crate::telemetry::handles::RouteMetrics;
use crate::telemetry::metrics::{Metrics, NONE};
use crate::tls::TlsError;
use crate::upstream::Upstream;
use crate::upstream::change::Change;
use crate::upstream::connect;

/// One configuration, ready for use.
pub struct Snapshot {
    /// The configuration.
    pub config: Config,
    upstreams: HashMap<String, Arc<Upstream>>,
    router: Router,
    routes: Vec<Route>,
    /// Counts the requests that no route took.
    pub unrouted: Arc<RouteMetrics>,
}

/// A snapshot that can be put in force.
pub struct Prepared {
    snapshot: Snapshot,
    /// What it changes about upstreams that it shares with the one before.
    changes: Vec<(Arc<Upstream>, Change)>,
    /// The names of upstreams of which the background work has to begin, or to begin anew.
    begins: Vec<String>,
    /// Upstreams that it no longer has.
    retired: Vec<Arc<Upstream>>,
}

/// Why nothing can be built from a configuration, although it is well written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// What `tls` of an upstream names cannot be used.
    #[error("upstreams.{upstream}.tls: {reason}")]
    Tls {
        /// The upstream.
        upstream: String,
        /// Which file, and what is wrong with it.
        reason: TlsError,
    },
    /// What `auth` of a route names cannot be used.
    #[error("routes.{route}.auth: {reason}")]
    Auth {
        /// The route.
        route: String,
        /// Which file, and what is wrong with it.
        reason: GuardError,
    },
}

/// A request's route.
pub struct Taken<'s> {
    /// The route.
    pub route: &'s Route,
    /// The one of its path patterns by which it was found.
    pub path: &'s PathPattern,
    /// Whether it answers the request as a preflight.
    pub answers_preflight: bool,
}

/// One route, ready for use.
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Its metric handles.
    pub metrics: Arc<RouteMetrics>,
    /// Who checks those who come; `None` lets everybody in.
    pub guard: Option<Guard>,
    /// What it does.
    pub action: Action,
    /// Its limits, if it has an upstream.
    pub limits: Option<Limits>,
}

/// What a route does.
pub enum Action {
    /// Hand the request to an upstream.
    Proxy(Box<Proxy>, Arc<Upstream>),
    /// Answer it.
    Respond(Respond),
}

impl Snapshot {
    /// Builds everything; no address is bound, no connection opened, and nothing changed that
    /// `before`, the snapshot in use, has. What is the same in both is shared: upstreams by their
    /// name, and what counts towards the limits of a route.
    pub fn prepare(
        config: Config,
        before: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Prepared, SnapshotError> {
        let Upstreams { all: upstreams, changes, begins, retired } =
            Upstreams::of(&config, before, metrics)?;
        let routes = config.routes.iter().map(|route| {
            let before = before.and_then(|before| before.route_named(&route.name));
            Route::new(route, before, &upstreams, metrics)
        });
        let snapshot = Self {
            routes: routes.collect::<Result<_, _>>()?,
            upstreams,
            router: Router::new(&config.routes),
            unrouted: metrics.route(NONE, None),
            config,
        };
        Ok(Prepared { snapshot, changes, begins, retired })
    }

    fn route_named(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| *route.name == *name)
    }

    /// Its routes, in the order of the configuration.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The upstream of that name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }

    /// The route that takes the request.
    pub fn route(&self, query: Query<'_>) -> Option<Taken<'_>> {
        let Found { route, path, answers_preflight } = self.router.find(query)?;
        Some(Taken { route: &self.routes[route], path, answers_preflight })
    }

    /// Who takes spans, and what it is asked for; none if nobody does.
    pub fn collector(&self) -> Option<(&Arc<Upstream>, &str)> {
        let otlp = &self.config.tracing.otlp;
        let upstream = self.upstream(&otlp.upstream).filter(|_| otlp.enabled)?;
        Some((upstream, &otlp.target))
    }
}

impl Prepared {
    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.snapshot.config
    }

    /// Puts it in force, except that no exchange has it yet; cannot fail. Must be called inside a
    /// runtime.
    pub fn begin(self, metrics: &Metrics) -> Snapshot {
        let Self { snapshot, changes, begins, retired } = self;
        for (upstream, change) in changes {
            upstream.change(change, metrics);
        }
        for route in &snapshot.routes {
            if let Some(limits) = &route.limits {
                limits.begin();
            }
        }
        let limits = connect::Limits::from(&snapshot.config.timeouts);
        for upstream in &retired {
            upstream.retire(metrics);
        }
        let begins = begins.iter().filter_map(|name| snapshot.upstreams.get(name));
        for upstream in begins.chain(&retired) {
            upstream.look_after(limits);
        }
        snapshot
    }
}

/// The upstreams of a snapshot, and what differs from the one before.
struct Upstreams {
    all: HashMap<String, Arc<Upstream>>,
    changes: Vec<(Arc<Upstream>, Change)>,
    begins: Vec<String>,
    retired: Vec<Arc<Upstream>>,
}

impl Upstreams {
    fn of(
        config: &Config,
        before: Option<&Snapshot>,
        metrics: &Metrics,
    ) -> Result<Self, SnapshotError> {
        let (mut all, mut changes, mut begins) = (HashMap::new(), Vec::new(), Vec::new());
        let same_limits = before.is_some_and(|before| before.config.timeouts == config.timeouts);
        for rules in &config.upstreams {
            let name = &rules.name;
            let fail = |reason| SnapshotError::Tls { upstream: name.clone(), reason };
            let mut goes_on = same_limits;
            let upstream = match before.and_then(|before| before.upstream(name)) {
                Some(present) => {
                    if let Some(change) = present.plan(rules, metrics).map_err(fail)? {
                        changes.push((Arc::clone(present), change));
                        goes_on = false;
                    }
                    Arc::clone(present)
                }
                None => {
                    goes_on = false;
                    Arc::new(Upstream::new(rules, metrics).map_err(fail)?)
                }
            };
            if !goes_on {
                begins.push(name.clone());
            }
            all.insert(name.clone(), upstream);
        }
        let present = before.iter().flat_map(|before| &before.upstreams);
        let gone = present.filter(|(name, _)| !all.contains_key(*name));
        let retired = gone.map(|(_, upstream)| Arc::clone(upstream)).collect();
        Ok(Self { all, changes, begins, retired })
    }
}

impl Route {
    fn new(
        route: &model::Route,
        before: Option<&Self>,
        upstreams: &HashMap<String, Arc<Upstream>>,
        metrics: &Metrics,
    ) -> Result<Self, SnapshotError> {
        let name = &route.name;
        let rules = match &route.target {
            Target::Respond(respond) => {
                return Ok(Self {
                    name: name.as_str().into(),
                    metrics: metrics.route(name, None),
                    guard: None,
                    action: Action::Respond(respond.clone()),
                    limits: None,
                });
            }
            Target::Proxy(rules) => rules,
        };
        let upstream = |name: &str| &upstreams[name];
        // First: what is swept meanwhile is what nobody has.
        let handles = metrics.route(name, Some(&rules.upstream));
        let guard_before = before.and_then(|before| before.guard.as_ref());
        let guard = Guard::new(name, &rules.auth, upstream, metrics, guard_before)
            .map_err(|reason| SnapshotError::Auth { route: name.clone(), reason })?;
        let limits_before = before.and_then(|before| before.limits.as_ref());
        let limits = Limits::new(name, &rules.limits, metrics.limited(name), limits_before);
        let upstream = upstream(&rules.upstream);
        Ok(Self {
            name: name.as_str().into(),
            metrics: handles,
            guard,
            action: Action::Proxy(rules.clone(), Arc::clone(upstream)),
            limits: Some(limits),
        })
    }
}
