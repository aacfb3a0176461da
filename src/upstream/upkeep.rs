//! What an upstream needs done in the background: looking up names, health checks, connections that
//! are opened ahead of need, and gauges that time changes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::connect::{self, Limits};
use super::endpoint::Endpoint;
use super::{Upstream, checker, resolver};
use crate::clock;
use crate::config::model;
use crate::contain::keep_up;

/// Between two looks.
const TICK: Duration = Duration::from_millis(500);

/// Tasks that end when this is dropped.
#[must_use]
pub struct Upkeep(Vec<AbortHandle>);

impl Upkeep {
    /// Begins; must be called inside a runtime. `limits` are for connections ahead of need.
    pub fn start(upstream: &Arc<Upstream>, limits: Limits) -> Self {
        let weak = Arc::downgrade(upstream);
        let looking_after = {
            let weak = weak.clone();
            move || look_after(weak.clone(), limits)
        };
        let mut tasks = vec![
            tokio::spawn(keep_up("look after an upstream", looking_after)).abort_handle(),
            tokio::spawn(keep_up("resolve names", {
                let weak = weak.clone();
                move || resolver::run(weak.clone())
            }))
            .abort_handle(),
        ];
        if upstream.config().health.active.is_some() {
            let checking = keep_up("check health", move || checker::run(weak.clone()));
            tasks.push(tokio::spawn(checking).abort_handle());
        }
        Self(tasks)
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn look_after(upstream: Weak<Upstream>, limits: Limits) {
    // Beside the rest: an endpoint that lets us wait keeps nobody else waiting.
    let mut warming = JoinSet::new();
    loop {
        {
            let Some(upstream) = upstream.upgrade() else { return };
            // An ejection ends by itself: nobody else would say so.
            upstream.serve_queue(&mut upstream.roster());
            upstream.show();
            let retired = upstream.roster().retired_endpoints();
            retired.iter().for_each(|endpoint| endpoint.forget());
            let config = upstream.config();
            let endpoints = upstream.roster().endpoints();
            for endpoint in endpoints {
                if endpoint.source().is_drained() || upstream.is_retired() {
                    endpoint.forget();
                }
                endpoint.sessions().look_after(endpoint.idle_limit(&config.pool, clock::now()));
            }
            while warming.try_join_next().is_some() {}
            if warming.is_empty() && config.pool.warm > 0 {
                for endpoint in upstream.fit_endpoints() {
                    let config = Arc::clone(&config);
                    warming.spawn(async move { warm(&config.pool, &endpoint, limits).await });
                }
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Opens what is missing of `pool.warm`.
async fn warm(pool: &model::Pool, endpoint: &Arc<Endpoint>, limits: Limits) {
    if pool.http2 {
        // One connection carries many exchanges and stays open between them.
        return;
    }
    let may_open = || {
        let room = pool.max_connections.is_none_or(|most| endpoint.connections() < most);
        room && endpoint.idle() < pool.warm
    };
    // No more than are wanted: an endpoint may accept connections only to close them.
    for _ in 0..pool.warm {
        if !may_open() {
            return;
        }
        // A failure is counted; whether the endpoint is fit is for requests and checks to say.
        if connect::warm(endpoint, pool, limits).await.is_err() {
            return;
        }
    }
}
