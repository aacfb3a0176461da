//! What operators see of an upstream.

use std::sync::Arc;

use serde::Serialize;

use super::Upstream;
use super::endpoint::Source;
use super::roster::Standing;
use crate::clock;
use crate::config::model::Address;

/// An upstream at one moment.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// How the next endpoint is chosen, as the configuration has it.
    pub balance: &'static str,
    /// Requests that wait.
    pub queue_length: usize,
    /// In the order of the configuration.
    pub endpoints: Vec<EndpointStatus>,
}

/// One of its endpoints, with all addresses of its name.
#[derive(Debug, Serialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// As the configuration says it.
    pub address: String,
    /// `up`, `down`, `ejected`, `drained` or `unresolved`.
    pub state: &'static str,
    /// Exchanges open there.
    pub streams: usize,
    /// Idle connections.
    pub idle: i64,
    /// Connections that carry exchanges.
    pub active: i64,
    /// Requests on new connections since the start.
    pub requests_new: u64,
    /// Requests on connections that had served before.
    pub requests_reused: u64,
    /// Its share.
    pub weight: u32,
    /// It is picked only when none of the others is fit.
    pub backup: bool,
}

impl Upstream {
    /// What there is to see of it now.
    pub fn status(&self) -> Status {
        let (sources, now) = (self.sources.load_full(), clock::now());
        let roster = self.roster();
        let standings: Vec<_> = sources
            .iter()
            .map(|s| (roster.standing(s.name(), now), roster.streams(s.name())))
            .collect();
        let queue_length = roster.queue_length();
        drop(roster);
        let endpoints = sources.iter().zip(standings);
        Status {
            name: self.name().to_owned(),
            balance: self.config().balance.label(),
            queue_length,
            endpoints: endpoints.map(|(s, (standing, n))| endpoint(s, standing, n)).collect(),
        }
    }
}

fn endpoint(source: &Arc<Source>, standing: Standing, streams: usize) -> EndpointStatus {
    let (metrics, config) = (source.metrics(), source.config());
    EndpointStatus {
        name: source.name().to_owned(),
        address: match source.address() {
            Address::Tcp { .. } => source.authority().to_owned(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        },
        state: match standing {
            _ if source.is_drained() => "drained",
            Standing::Absent => "unresolved",
            Standing::Fit => "up",
            Standing::Ejected => "ejected",
            Standing::Down => "down",
        },
        streams,
        idle: metrics.idle.get(),
        active: metrics.active.get(),
        requests_new: metrics.on_new.get(),
        requests_reused: metrics.on_reused.get(),
        weight: config.weight,
        backup: config.backup,
    }
}
