//! What a reload makes of an upstream: planned first, when it can still fail, and put in force when
//! the whole configuration is good.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::connect::Limits;
use super::endpoint::Source;
use super::tls::TlsClient;
use super::upkeep::Upkeep;
use super::{Upstream, known_endpoints};
use crate::clock;
use crate::config::model;
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsError;

/// A change that cannot fail any more.
pub struct Change {
    config: model::Upstream,
    sources: Vec<Arc<Source>>,
}

/// The sources that a configuration asks for: those of `present` that it still means, and new ones.
pub(super) fn sources(
    config: &model::Upstream,
    present: &[Arc<Source>],
    metrics: &Metrics,
) -> Result<Vec<Arc<Source>>, TlsError> {
    let is_secure = config.endpoints.iter().any(|endpoint| endpoint.https);
    let new = is_secure.then(|| TlsClient::new(&config.tls).map(Arc::new)).transpose()?;
    // One client for all: what it knows of sessions is kept if it would do the same.
    let tls = new.map(|new| {
        let present = present.iter().find_map(|source| source.tls_client());
        present.filter(|present| present.is_like(&new)).map(Arc::clone).unwrap_or(new)
    });
    let source = |endpoint: &model::Endpoint| {
        let tls = tls.as_ref().filter(|_| endpoint.https);
        let kept = present.iter().find(|source| source.is_meant(endpoint, tls));
        kept.map(Arc::clone).unwrap_or_else(|| {
            Arc::new(Source::new(&config.name, endpoint, tls.map(Arc::clone), metrics))
        })
    };
    Ok(config.endpoints.iter().map(source).collect())
}

impl Upstream {
    /// What `config` would change here; `None` if nothing. Reads the files that `tls` names.
    pub fn plan(
        &self,
        config: &model::Upstream,
        metrics: &Metrics,
    ) -> Result<Option<Change>, TlsError> {
        let present = self.sources.load();
        let sources = sources(config, &present, metrics)?;
        let same = |(one, other): (&Arc<Source>, &Arc<Source>)| Arc::ptr_eq(one, other);
        let is_same = sources.len() == present.len() && sources.iter().zip(&**present).all(same);
        if is_same && **self.config.load() == *config {
            return Ok(None);
        }
        Ok(Some(Change { config: config.clone(), sources }))
    }

    /// Puts a change in force. Endpoints that are meant as before keep their connections, their
    /// health and their counts. Those that are gone get nothing new; what is open there runs on.
    pub fn change(self: &Arc<Self>, change: Change, metrics: &Metrics) {
        let Change { config, sources } = change;
        for (source, endpoint) in sources.iter().zip(&config.endpoints) {
            source.reconfigure(endpoint.clone());
        }
        let is_among = |source: &Arc<Source>, list: &[Arc<Source>]| {
            list.iter().any(|other| Arc::ptr_eq(other, source))
        };
        let config = Arc::new(config);
        self.config.store(Arc::clone(&config));
        let before = self.sources.swap(Arc::new(sources.clone()));
        let new: Vec<_> = sources.iter().filter(|source| !is_among(source, &before)).collect();
        // An operator's word holds for the name, wherever it is now.
        for source in &new {
            let named = before.iter().find(|before| before.name() == source.name());
            source.set_drained(named.is_some_and(|before| before.is_drained()));
        }
        let known = known_endpoints(new.iter().copied());
        if known.len() < new.len() {
            // Whoever finds nobody there waits for the names rather than failing. Not under the
            // roster's lock, which those who wait take under this one's.
            self.looked_up.send_replace(false);
        }
        let mut roster = self.roster();
        roster.reconfigure(config, clock::now());
        roster.change(known, |endpoint| is_among(endpoint.source(), &sources));
        self.serve_queue(&mut roster);
        drop(roster);
        let gone = |source: &&Arc<Source>| sources.iter().all(|kept| kept.name() != source.name());
        for source in before.iter().filter(gone) {
            metrics.hide_endpoint(self.name(), source.name());
        }
        self.show();
    }

    /// Takes an endpoint out, or puts it back, on an operator's word, which holds until it is gone
    /// from the configuration. Gives how many exchanges are open there, or `None` if there is no
    /// such endpoint.
    pub fn set_drained(self: &Arc<Self>, endpoint: &str, drained: bool) -> Option<usize> {
        let source = self.sources.load().iter().find(|one| one.name() == endpoint).cloned()?;
        if source.set_drained(drained) {
            let state = if drained { "drained" } else { "ready" };
            tracing::info!(upstream = self.name(), endpoint, state, "endpoint is set");
        }
        let mut roster = self.roster();
        self.serve_queue(&mut roster);
        let open = roster.streams(endpoint);
        drop(roster);
        self.show();
        Some(open)
    }

    /// It is no longer in the configuration: exchanges that began before run on, and may still
    /// connect; nothing is kept for others.
    pub fn retire(self: &Arc<Self>, metrics: &Metrics) {
        self.is_retired.store(true, Ordering::Relaxed);
        let mut config = (*self.config()).clone();
        config.pool.max_idle = 0;
        config.pool.warm = 0;
        config.health.active = None;
        let config = Arc::new(config);
        self.config.store(Arc::clone(&config));
        self.roster().reconfigure(config, clock::now());
        for source in self.sources.load().iter() {
            metrics.hide_endpoint(self.name(), source.name());
        }
        // Whoever has it may let go of it before its upkeep has had a look.
        let endpoints = self.roster().endpoints();
        endpoints.iter().for_each(|endpoint| endpoint.forget());
    }

    /// Whether no configuration has it any more.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// Begins, or begins anew, what has to be done in the background as long as it lives; must be
    /// called inside a runtime. `limits` are for connections ahead of need.
    pub fn look_after(self: &Arc<Self>, limits: Limits) {
        let upkeep = Upkeep::start(self, limits);
        let before = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner).replace(upkeep);
        drop(before);
    }
}
