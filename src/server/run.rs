//! From a configuration to a process that serves, and to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::listener::{BindError, Sockets};
use super::signal::Signals;
use crate::admin::AdminApp;
use crate::config::model::{Config, Drain, TcpKeepalive};
use crate::live::registry::Registry;
use crate::proxy::app::{App, Shared};
use crate::proxy::snapshot::{Snapshot, SnapshotError};
use crate::telemetry::metrics::Metrics;

/// How long exchanges get to end themselves once they were told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// TCP keep-alive of the admin address, which has no key for it.
const ADMIN_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 6,
    user_timeout: Duration::ZERO,
};

/// Why the process could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is well written, and yet cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refused something that every process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A process whose addresses are bound.
pub struct Bound {
    snapshot: Snapshot,
    metrics: Metrics,
    listeners: Vec<Sockets>,
    admin: Option<Sockets>,
}

/// Whether the configuration can be used, as far as that can be told without binding an address.
pub fn check(config: Config) -> Result<(), RunError> {
    Snapshot::new(config, &Metrics::new())?;
    Ok(())
}

/// Builds everything of a configuration, then binds every address; must be called inside a runtime.
pub fn bind(config: Config) -> Result<Bound, RunError> {
    let metrics = Metrics::new();
    let snapshot = Snapshot::new(config, &metrics)?;
    let config = &snapshot.config;
    let listeners = config
        .listeners
        .iter()
        .map(|listener| Sockets::bind(&listener.bind))
        .collect::<Result<_, _>>()?;
    let admin = config.admin.as_ref().map(|admin| Sockets::bind(&[admin.bind])).transpose()?;
    Ok(Bound { snapshot, metrics, listeners, admin })
}

impl Bound {
    /// The addresses where clients can connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().flat_map(Sockets::addresses).collect()
    }

    /// Serves until a signal, drains, and comes back.
    pub async fn serve(self) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        let Self { snapshot, metrics, listeners, admin } = self;
        let metrics = Arc::new(metrics);
        // Packagers set the revision when they build.
        let revision = option_env!("LONGWIRE_REVISION").unwrap_or("unknown");
        metrics.set_build_info(env!("CARGO_PKG_VERSION"), revision);
        let registry = Arc::new(Registry::default());
        let ready = Arc::new(AtomicBool::new(true));
        let (stop_accepting, shutdown) = watch::channel(false);
        // The admin address answers until the very end.
        let (stop_admin, admin_shutdown) = watch::channel(false);

        let config = &snapshot.config;
        let drain = config.server.drain.clone();
        let admin_config = config.admin.clone();
        let named = config.listeners.clone();
        let metrics_path = config.metrics.path.clone();
        let _upkeep = snapshot.upkeep();
        let shared = Arc::new(Shared::new(Arc::new(snapshot), Arc::clone(&registry)));
        for (listener, sockets) in named.into_iter().zip(listeners) {
            for address in sockets.addresses() {
                tracing::info!(listener = listener.name, %address, "listening");
            }
            let handles = metrics.listener(&listener.name);
            let (name, keepalive) = (listener.name.clone(), listener.tcp_keepalive.clone());
            let app = App::new(Arc::clone(&shared), listener, handles);
            sockets.serve(&name, app, &keepalive, shutdown.clone());
        }
        if let (Some(admin), Some(sockets)) = (admin_config, admin) {
            for address in sockets.addresses() {
                tracing::info!(%address, "admin");
            }
            let app = AdminApp::new(admin, metrics_path, Arc::clone(&metrics), Arc::clone(&ready));
            sockets.serve("admin", app, &ADMIN_KEEPALIVE, admin_shutdown);
        }

        let signal = signals.next().await;
        tracing::info!(signal, open = registry.open(), "draining");
        ready.store(false, Ordering::Release);
        metrics.draining().set(1);
        tokio::select! {
            () = end(&drain, &registry, &stop_accepting) => {}
            signal = signals.next() => tracing::warn!(signal, "ending at once"),
        }
        stop_accepting.send_replace(true);
        stop_admin.send_replace(true);
        tracing::info!(open = registry.open(), "stopped");
        Ok(())
    }
}

/// Lets the exchanges end, at the latest when `grace` is over.
async fn end(drain: &Drain, registry: &Registry, stop_accepting: &watch::Sender<bool>) {
    tokio::time::sleep(drain.min_wait).await;
    stop_accepting.send_replace(true);
    registry.drain_all(drain.spread);
    if tokio::time::timeout(drain.grace, registry.emptied()).await.is_err() {
        tracing::warn!(open = registry.open(), "grace is over");
        registry.end_all();
        // The few that cannot even end are dropped with the runtime.
        let _ = tokio::time::timeout(FAREWELL, registry.emptied()).await;
    }
}
