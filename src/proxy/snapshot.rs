//! Everything that is built from one configuration. An exchange keeps the one it began with.

use std::collections::HashMap;
use std::sync::Arc;

use super::guard::{Guard, GuardError};
use super::limits::Limits;
use crate::config::model::{self, Config, Proxy, Respond, Target};
use crate::route::{Query, Router};
use crate::telemetry::metrics::{Metrics, NONE, RouteMetrics};
use crate::tls::TlsError;
use crate::upstream::Upstream;
use crate::upstream::connect::{self, Connector};
use crate::upstream::upkeep::Upkeep;

/// For the size of the pool, which is shared: a name with more addresses than this may find fewer
/// connections kept than `max_idle` for each of them.
const ADDRESSES_PER_NAME: usize = 16;

/// One configuration, ready for use.
pub struct Snapshot {
    /// The configuration.
    pub config: Config,
    /// All upstream connections.
    pub connector: Arc<Connector>,
    upstreams: Vec<Arc<Upstream>>,
    router: Router,
    routes: Vec<Route>,
    /// Counts the requests that no route took.
    pub unrouted: Arc<RouteMetrics>,
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

/// One route, ready for use.
pub struct Route {
    /// Its name.
    pub name: Box<str>,
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
    /// Builds everything; no address is bound and no connection opened.
    pub fn new(config: Config, metrics: &Metrics) -> Result<Self, SnapshotError> {
        let upstreams = config.upstreams.iter().map(|upstream| {
            let built = Upstream::new(upstream, metrics);
            let built = built
                .map_err(|reason| SnapshotError::Tls { upstream: upstream.name.clone(), reason })?;
            Ok((upstream.name.as_str(), Arc::new(built)))
        });
        let upstreams: HashMap<&str, Arc<Upstream>> =
            upstreams.collect::<Result<_, SnapshotError>>()?;
        // A name may have any number of addresses; more than that many are rare.
        let most = |upstream: &Arc<Upstream>| {
            let config = upstream.config();
            config.pool.max_idle.saturating_mul(config.endpoints.len() * ADDRESSES_PER_NAME)
        };
        let max_idle = upstreams.values().map(most).sum();
        let connector = Arc::new(Connector::new(max_idle));
        let guard = |route: &model::Route| match &route.target {
            Target::Respond(_) => Ok(None),
            Target::Proxy(rules) => {
                let upstream = |name: &str| &upstreams[name];
                Guard::new(&route.name, &rules.auth, upstream, &connector, metrics)
                    .map_err(|reason| SnapshotError::Auth { route: route.name.clone(), reason })
            }
        };
        let routes = config
            .routes
            .iter()
            .map(|route| {
                let action = match &route.target {
                    Target::Proxy(proxy) => Action::Proxy(
                        proxy.clone(),
                        Arc::clone(&upstreams[proxy.upstream.as_str()]),
                    ),
                    Target::Respond(respond) => Action::Respond(respond.clone()),
                };
                let upstream = match &action {
                    Action::Proxy(_, upstream) => Some(upstream.name()),
                    Action::Respond(_) => None,
                };
                let limits = match &route.target {
                    Target::Proxy(proxy) => {
                        let limited = metrics.limited(&route.name);
                        Some(Limits::new(&route.name, &proxy.limits, limited))
                    }
                    Target::Respond(_) => None,
                };
                let metrics = Arc::new(metrics.route(&route.name, upstream));
                let name = route.name.as_str().into();
                Ok(Route { name, metrics, guard: guard(route)?, action, limits })
            })
            .collect::<Result<_, SnapshotError>>()?;
        Ok(Self {
            connector,
            upstreams: upstreams.into_values().collect(),
            router: Router::new(&config.routes),
            routes,
            unrouted: Arc::new(metrics.route(NONE, None)),
            config,
        })
    }

    /// Begins what has to be done in the background as long as the result lives; must be called
    /// inside a runtime.
    pub fn upkeep(&self) -> Vec<Upkeep> {
        let limits = connect::Limits::from(&self.config.timeouts);
        let start = |upstream| Upkeep::start(upstream, &self.connector, limits);
        self.upstreams.iter().map(start).collect()
    }

    /// The route that takes the request, and whether it answers it as a preflight.
    pub fn route(&self, query: Query<'_>) -> Option<(&Route, bool)> {
        self.router.find(query).map(|found| (&self.routes[found.route], found.answers_preflight))
    }
}
