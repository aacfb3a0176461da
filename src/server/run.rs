//! From a configuration to a process that serves.

use std::io;
use std::path::Path;

use super::inherited::{Inherited, Taken};
use super::listener::{BindError, Listening};
use super::listeners::{self, Listeners, tls_of};
use super::predecessor::{HandoffError, Predecessor};
use super::process::{Serving, bind_admin};
use super::{sockets, upgrade};
use crate::config::model::{Bind, Config};
use crate::proxy::snapshot::{Prepared, Snapshot, SnapshotError};
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsError;

/// Why the process could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is well written, and yet cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What `tls` of a listener names cannot be used.
    #[error("listeners.{listener}.tls: {reason}")]
    Tls {
        /// The listener.
        listener: String,
        /// Which file, and what is wrong with it.
        reason: TlsError,
    },
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The process that runs was not replaced.
    #[error("no upgrade: {0}")]
    Handoff(#[from] HandoffError),
    /// The system refused something that every process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A process whose addresses are bound.
pub struct Bound {
    pub(super) prepared: Prepared,
    pub(super) metrics: Metrics,
    pub(super) listeners: listeners::Prepared,
    pub(super) admin: sockets::Bound,
    /// Where successors come.
    pub(super) upgrade: Option<Listening>,
    taken: Taken,
}

/// Whether the configuration can be used, as far as that can be told without binding an address.
pub fn check(config: Config) -> Result<(), RunError> {
    let prepared = Snapshot::prepare(config, None, &Metrics::new())?;
    prepared.config().listeners.iter().try_for_each(|listener| tls_of(listener).map(drop))
}

/// Builds everything of a configuration, then binds every address; must be called inside a runtime.
pub fn bind(config: Config) -> Result<Bound, RunError> {
    bind_unless(Inherited::default(), config)
}

/// The same, but binds no address that is among the sockets that are `inherited`.
pub fn bind_unless(mut inherited: Inherited, config: Config) -> Result<Bound, RunError> {
    let metrics = Metrics::new();
    let prepared = Snapshot::prepare(config, None, &metrics)?;
    let config = prepared.config();
    let listeners = Listeners::default().prepare(&config.listeners, &mut inherited)?;
    let admin = bind_admin(config.admin.as_ref(), None, inherited.for_admin())?;
    let upgrade = config.server.upgrade_socket.as_deref();
    let upgrade = upgrade.map(|path| upgrade::bind(path, &mut inherited)).transpose()?;
    let taken = inherited.finish();
    Ok(Bound { prepared, metrics, listeners, admin, upgrade, taken })
}

impl Bound {
    /// The addresses where clients can connect.
    pub fn addresses(&self) -> Vec<Bind> {
        self.listeners.addresses()
    }

    /// Serves until a signal, drains, and comes back. `file` is where the configuration is read
    /// again.
    pub async fn serve(self, file: Option<&Path>) -> Result<(), RunError> {
        self.replace(None, file).await
    }

    /// The same; the `predecessor` whose sockets were used serves until we do.
    pub async fn replace(
        mut self,
        predecessor: Option<Predecessor>,
        file: Option<&Path>,
    ) -> Result<(), RunError> {
        let taken = std::mem::take(&mut self.taken);
        let (serving, commands) = Serving::begin(self, file);
        serving.run(commands, predecessor.map(|predecessor| (predecessor, taken))).await
    }
}
