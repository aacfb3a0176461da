//! From a configuration to a process that serves, and to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accept::{self, Places, Serve};
use super::listener::{BindError, Listening, bind_all};
use super::notify::Watchdog;
use super::signal::Signals;
use super::{certificates, descriptors, notify};
use crate::admin::AdminApp;
use crate::client::Accepted;
use crate::client::tls::TlsServer;
use crate::clock;
use crate::config::model::{Bind, Config, Drain, Listener, TcpKeepalive};
use crate::live::farewell::Farewells;
use crate::live::registry::Registry;
use crate::proxy::app::{App, LAST_LOOK, Shared};
use crate::proxy::snapshot::{Snapshot, SnapshotError};
use crate::telemetry::connections::{ConnectionMetrics, Refused};
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsError;

/// How long exchanges get to end themselves once they were told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long connections get to end after their last exchange.
const LINGER: Duration = Duration::from_millis(300);

/// TCP keep-alive of the admin address, which has no key for it.
const ADMIN_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 6,
    user_timeout: Duration::ZERO,
};

/// Connections of the admin address at once. They are not counted among those of clients, so that
/// operators get in when nobody else does.
const ADMIN_MAX_CONNECTIONS: usize = 256;

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
    /// The system refused something that every process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A process whose addresses are bound.
pub struct Bound {
    snapshot: Snapshot,
    metrics: Metrics,
    tls: Vec<Option<Arc<TlsServer>>>,
    listeners: Vec<Vec<Listening>>,
    admin: Vec<Listening>,
}

/// Whether the configuration can be used, as far as that can be told without binding an address.
pub fn check(config: Config) -> Result<(), RunError> {
    let snapshot = Snapshot::new(config, &Metrics::new())?;
    tls_of(&snapshot.config.listeners)?;
    Ok(())
}

/// Builds everything of a configuration, then binds every address; must be called inside a runtime.
pub fn bind(config: Config) -> Result<Bound, RunError> {
    let metrics = Metrics::new();
    let snapshot = Snapshot::new(config, &metrics)?;
    let config = &snapshot.config;
    let tls = tls_of(&config.listeners)?;
    let listeners = config
        .listeners
        .iter()
        .map(|listener| bind_all(&listener.bind, &listener.tcp_keepalive))
        .collect::<Result<_, _>>()?;
    let admin = config.admin.as_ref().map(|admin| admin.bind.clone());
    let admin = bind_all(admin.as_slice(), &ADMIN_KEEPALIVE)?;
    Ok(Bound { snapshot, metrics, tls, listeners, admin })
}

fn tls_of(listeners: &[Listener]) -> Result<Vec<Option<Arc<TlsServer>>>, RunError> {
    let tls = |listener: &Listener| {
        let tls = listener.tls.as_ref().map(|tls| TlsServer::new(tls, listener.protocols));
        let tls = tls
            .transpose()
            .map_err(|reason| RunError::Tls { listener: listener.name.clone(), reason })?;
        Ok(tls.map(Arc::new))
    };
    listeners.iter().map(tls).collect()
}

impl Bound {
    /// The addresses where clients can connect.
    pub fn addresses(&self) -> Vec<Bind> {
        self.listeners.iter().flatten().filter_map(Listening::address).collect()
    }

    /// Serves until a signal, drains, and comes back.
    pub async fn serve(self) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        let Self { snapshot, metrics, tls, listeners, admin } = self;
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
        let max_connections =
            config.server.max_connections.unwrap_or_else(descriptors::max_connections);
        let places = Places::new(max_connections);
        let (mut acceptors, mut admin_acceptor) = (JoinSet::new(), JoinSet::new());
        let _upkeep = snapshot.upkeep();
        let shared = Arc::new(Shared::new(Arc::new(snapshot), Arc::clone(&registry)));
        for ((listener, tls), sockets) in named.into_iter().zip(tls).zip(listeners) {
            if let Some((tls, config)) = tls.as_ref().zip(listener.tls.as_ref()) {
                certificates::show(&listener.name, tls, &metrics);
                if let Some(interval) = config.reload {
                    let (name, metrics) = (listener.name.clone(), Arc::clone(&metrics));
                    let tls = Arc::clone(tls);
                    tokio::spawn(certificates::watch(name, tls, metrics, interval));
                }
            }
            for address in sockets.iter().filter_map(Listening::address) {
                tracing::info!(listener = listener.name, %address, "listening");
            }
            let counts = ConnectionMetrics::new(&metrics, &listener.name);
            let app = App::new(Arc::clone(&shared), listener, tls, counts, shutdown.clone());
            serve(&mut acceptors, sockets, Arc::new(app), &places, &shutdown);
        }
        if let Some(config) = admin_config {
            for address in admin.iter().filter_map(Listening::address) {
                tracing::info!(%address, "admin");
            }
            let app = AdminApp::new(config, metrics_path, Arc::clone(&metrics), Arc::clone(&ready));
            let admin_places = Places::new(ADMIN_MAX_CONNECTIONS);
            serve(&mut admin_acceptor, admin, Arc::new(app), &admin_places, &admin_shutdown);
        }

        notify::ready();
        let _watchdog = Watchdog::start();
        let signal = signals.next().await;
        notify::stopping();
        tracing::info!(signal, open = registry.open(), "draining");
        ready.store(false, Ordering::Release);
        metrics.draining().set(1);
        tokio::select! {
            () = end(&drain, &registry, &stop_accepting, &mut acceptors, &places) => {}
            signal = signals.next() => tracing::warn!(signal, "ending at once"),
        }
        stop_accepting.send_replace(true);
        stop_admin.send_replace(true);
        // Their sockets' files go with them.
        while acceptors.join_next().await.is_some() {}
        while admin_acceptor.join_next().await.is_some() {}
        tracing::info!(open = registry.open(), "stopped");
        Ok(())
    }
}

/// Accepts on every socket in a task of its own, among `acceptors`.
fn serve(
    acceptors: &mut JoinSet<()>,
    sockets: Vec<Listening>,
    app: Arc<impl Serve>,
    places: &Places,
    shutdown: &watch::Receiver<bool>,
) {
    for socket in sockets {
        let (app, places, shutdown) = (Arc::clone(&app), places.clone(), shutdown.clone());
        acceptors.spawn(accept::run(socket, app, places, shutdown));
    }
}

impl Serve for App {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        Self::serve(self, accepted).await;
    }

    fn turn_away(self: &Arc<Self>, accepted: Accepted) {
        Self::turn_away(self, accepted);
    }

    fn count(&self, refused: Refused) {
        Self::count(self, refused);
    }
}

impl Serve for AdminApp {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        Self::serve(&self, accepted).await;
    }

    fn turn_away(self: &Arc<Self>, _: Accepted) {}

    /// The admin address is not among the listeners that are counted.
    fn count(&self, _: Refused) {}
}

/// Lets the exchanges end, at the latest when `grace` is over.
async fn end(
    drain: &Drain,
    registry: &Registry,
    stop_accepting: &watch::Sender<bool>,
    acceptors: &mut JoinSet<()>,
    places: &Places,
) {
    tokio::time::sleep(drain.min_wait).await;
    stop_accepting.send_replace(true);
    while acceptors.join_next().await.is_some() {}
    // What lay in the kernel becomes an exchange now.
    tokio::time::sleep(2 * LAST_LOOK).await;
    let Drain { grace, spread, notify, .. } = *drain;
    registry.drain_all(Farewells { began: clock::now(), grace, spread, notify });
    if tokio::time::timeout(drain.grace, registry.emptied()).await.is_err() {
        tracing::warn!(open = registry.open(), "grace is over");
        registry.end_all();
        // The few that cannot even end are dropped with the runtime.
        let _ = tokio::time::timeout(FAREWELL, registry.emptied()).await;
    }
    // What was written is on its way, and some clients have more to say: the end of the process
    // would answer that with a reset, which can overtake it.
    let _ = tokio::time::timeout(LINGER, places.all_free()).await;
}
