//! Looks up the names of endpoints, again and again: each address of a name is an endpoint. When a
//! name cannot be resolved, its last good answer stays.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;

use super::endpoint::{Endpoint, Place, Source};
use super::{Upstream, known_place};
use crate::config::model::Address;
use crate::contain::keep_up;
use crate::telemetry::metrics::ConnectResult;

/// A name that has never been resolved is looked up again after this, or sooner.
const RETRY: Duration = Duration::from_secs(1);

/// A resolver that takes longer has failed: it asks its first server for five seconds
/// (resolv.conf(5)).
const LOOK_UP_MAX: Duration = Duration::from_secs(6);

/// Runs until the upstream is gone.
pub(super) async fn run(upstream: Weak<Upstream>) {
    let mut names = JoinSet::new();
    {
        let Some(upstream) = upstream.upgrade() else { return };
        let unknown = |source: &&Arc<Source>| known_place(source.address()).is_none();
        let sources = upstream.sources.load();
        let unknown: Vec<_> = sources.iter().filter(unknown).map(Arc::clone).collect();
        let mut first = JoinSet::new();
        for source in &unknown {
            let (upstream, source) = (Arc::clone(&upstream), Arc::clone(source));
            first.spawn(async move { upstream.look_up(&source).await });
        }
        first.join_all().await;
        // A reload may have asked for other names meanwhile, and begun anew.
        if Arc::ptr_eq(&sources, &upstream.sources.load()) {
            upstream.looked_up.send_replace(true);
        }
        for source in unknown {
            let weak = Arc::downgrade(&upstream);
            names.spawn(keep_up("resolve a name", move || {
                keep_looking(weak.clone(), Arc::clone(&source))
            }));
        }
    }
    while names.join_next().await.is_some() {}
}

async fn keep_looking(upstream: Weak<Upstream>, source: Arc<Source>) {
    loop {
        let mut pause = source.config().resolve;
        {
            let Some(upstream) = upstream.upgrade() else { return };
            if !upstream.roster().has(source.name()) {
                pause = pause.min(RETRY);
            }
        }
        tokio::time::sleep(pause).await;
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.look_up(&source).await;
    }
}

impl Upstream {
    /// Looks a name up, and takes its addresses in.
    async fn look_up(self: &Arc<Self>, source: &Arc<Source>) {
        let Address::Tcp { host, port } = source.address() else { return };
        match look_up(host, *port).await {
            Ok(addresses) => {
                source.resolution_changes(true);
                self.take_in(source, &addresses);
            }
            Err(error) => {
                source.metrics().connects(ConnectResult::Dns).inc();
                if source.resolution_changes(false) {
                    let (upstream, endpoint) = (self.name(), source.name());
                    tracing::warn!(upstream, endpoint, %error, "name is not resolved");
                }
            }
        }
    }

    /// The addresses of `source` are now these.
    fn take_in(self: &Arc<Self>, source: &Arc<Source>, addresses: &HashSet<SocketAddr>) {
        let is_there = |endpoint: &Endpoint, address: &SocketAddr| {
            Arc::ptr_eq(endpoint.source(), source) && *endpoint.place() == Place::Tcp(*address)
        };
        let mut roster = self.roster();
        // A reload may have taken the source away while the question was under way.
        if !self.sources.load().iter().any(|present| Arc::ptr_eq(present, source)) {
            return;
        }
        let new: Vec<_> = addresses
            .iter()
            .filter(|address| !roster.revive(|endpoint| is_there(endpoint, address)))
            .map(|address| Arc::new(Endpoint::new(Arc::clone(source), Place::Tcp(*address))))
            .collect();
        for endpoint in &new {
            let (name, place) = (endpoint.name(), format!("{:?}", endpoint.place()));
            tracing::debug!(upstream = self.name(), endpoint = name, place, "endpoint resolved");
        }
        roster.change(new, |endpoint| {
            !Arc::ptr_eq(endpoint.source(), source)
                || addresses.iter().any(|address| is_there(endpoint, address))
        });
        self.serve_queue(&mut roster);
        drop(roster);
        // Those who wait for any endpoint at all.
        self.looked_up.send_modify(|_| {});
        self.show();
    }
}

async fn look_up(host: &str, port: u16) -> io::Result<HashSet<SocketAddr>> {
    let found = tokio::time::timeout(LOOK_UP_MAX, tokio::net::lookup_host((host, port))).await;
    let found: HashSet<_> = found.map_err(io::Error::from)??.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}
