//! A process that serves: what it hears of, and what it does then, one after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::accept::Places;
use super::current::Current;
use super::descriptors;
use super::drain::drain;
use super::listener::BindError;
use super::listeners::{Common, Listeners};
use super::notify::{self, Watchdog};
use super::reload;
use super::run::{Bound, RunError};
use super::signal::{Heard, Signals, reopen_log};
use super::sockets::{self, Sockets};
use crate::admin::control::{Command, Control, NotReloaded, Reloaded};
use crate::admin::{AdminApp, Process};
use crate::clock;
use crate::config::model::{Admin, Config, TcpKeepalive};
use crate::live::registry::Registry;
use crate::proxy::app::Shared;
use crate::proxy::snapshot::Snapshot;

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

/// A process that serves.
pub struct Serving {
    /// Where its configuration is, if it is in a file.
    file: Option<PathBuf>,
    /// The configuration with which it started.
    pub(super) started: Config,
    pub(super) common: Common,
    pub(super) listeners: Listeners,
    process: Arc<Process>,
    admin: Option<Arc<Current<AdminApp>>>,
    admin_sockets: Sockets,
    /// Why the configuration was not used, the last time that it was read.
    pub(super) last_error: Option<String>,
}

impl Serving {
    /// Begins to serve what was bound; must be called inside a runtime.
    pub fn begin(bound: Bound, file: Option<&Path>) -> (Self, mpsc::Receiver<Command>) {
        let Bound { prepared, metrics, listeners, admin } = bound;
        let started = prepared.config().clone();
        let metrics = Arc::new(metrics);
        // Packagers set the revision when they build.
        let revision = option_env!("LONGWIRE_REVISION").unwrap_or("unknown");
        metrics.set_build_info(env!("CARGO_PKG_VERSION"), revision);
        let registry = Arc::new(Registry::default());
        let snapshot = Arc::new(prepared.begin(&metrics));
        let shared = Arc::new(Shared::new(snapshot, registry));
        let limit = started.server.max_connections;
        let places = Places::new(limit.unwrap_or_else(descriptors::max_connections));
        let common = Common { shared, metrics, places };
        let (control, commands) = Control::new();
        let process = Process {
            metrics: Arc::clone(&common.metrics),
            shared: Arc::clone(&common.shared),
            ready: AtomicBool::new(true),
            control,
        };
        let mut serving = Self {
            file: file.map(Path::to_owned),
            started: started.clone(),
            listeners: Listeners::default(),
            process: Arc::new(process),
            admin: None,
            admin_sockets: Sockets::default(),
            last_error: None,
            common,
        };
        serving.listeners.begin(listeners, &serving.common);
        serving.begin_admin(started.admin.as_ref(), &started.metrics.path, admin);
        serving.note_load(true, false);
        (serving, commands)
    }

    /// Serves until it is asked to end, and drains.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        notify::ready();
        let _watchdog = Watchdog::start();
        let asked = self.serve(&mut signals, &mut commands).await;
        notify::stopping();
        let registry = Arc::clone(&self.common.shared.registry);
        tracing::info!(asked, open = registry.open(), "draining");
        self.process.ready.store(false, Ordering::Release);
        self.common.metrics.draining().set(1);
        let rules = self.snapshot().config.server.drain.clone();
        tokio::select! {
            () = drain(&rules, &registry, &mut self.listeners, &self.common.places) => {}
            signal = signals.end() => tracing::warn!(signal, "ending at once"),
            // They cannot be granted any more, but are answered.
            () = decline(&mut commands, &registry) => {}
        }
        // Their sockets' files go with them. The admin address answers until the very end.
        self.listeners.close().await;
        self.admin_sockets.close().await;
        tracing::info!(open = registry.open(), "stopped");
        Ok(())
    }

    /// Serves until it is asked to end; gives what asked for it.
    async fn serve(
        &mut self,
        signals: &mut Signals,
        commands: &mut mpsc::Receiver<Command>,
    ) -> &'static str {
        let mut looked = Instant::now();
        loop {
            let watch = self.snapshot().config.server.watch;
            let look = async {
                match watch {
                    Some(interval) => sleep_until(looked + interval).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = signals.next() => match heard {
                    Heard::End(signal) => return signal,
                    Heard::Reopen => reopen_log(),
                    Heard::Reload => {
                        notify::reloading();
                        // It has been logged.
                        let _ = self.read_and_reload().await;
                        notify::ready();
                    }
                },
                // The other end is in `self`.
                Some(command) = commands.recv() => match command {
                    Command::Reload(answer) => {
                        let reloaded = self.read_and_reload().await;
                        // Whoever asked may have left.
                        let _ = answer.send(reloaded);
                    }
                    Command::Drain(answer) => {
                        let _ = answer.send(self.common.shared.registry.open());
                        return "POST /-/drain";
                    }
                },
                () = look => {
                    self.look().await;
                    looked = Instant::now();
                }
            }
        }
    }

    async fn read_and_reload(&mut self) -> Result<Reloaded, NotReloaded> {
        let Some(file) = &self.file else {
            let why = "the process was started without a configuration file";
            tracing::warn!("not reloaded: {why}");
            return Err(NotReloaded::Refused(why));
        };
        let found = reload::read(file).await;
        self.reload(found).await
    }

    /// Reloads if the configuration says something else than the last time. Comparing what it says
    /// finds every way in which it can change: written in place, replaced, a symbolic link that now
    /// leads elsewhere, an included file, a secret.
    async fn look(&mut self) {
        let Some(file) = &self.file else { return };
        let found = reload::read(file).await;
        let is_known = match &found {
            Ok(config) => *config == self.snapshot().config,
            Err(error) => self.last_error.as_ref() == Some(error),
        };
        if !is_known {
            // It has been logged.
            let _ = self.reload(found).await;
        }
    }

    /// The configuration in use.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.common.shared.snapshot.load_full()
    }

    pub(super) fn note_load(&self, succeeded: bool, is_reload: bool) {
        let now = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.common.metrics.config_loaded(succeeded, is_reload, now.as_secs_f64());
    }

    pub(super) fn prepare_admin(&self, admin: Option<&Admin>) -> Result<sockets::Bound, BindError> {
        bind_admin(admin, Some(&self.admin_sockets))
    }

    pub(super) fn begin_admin(
        &mut self,
        admin: Option<&Admin>,
        metrics_path: &str,
        bound: sockets::Bound,
    ) {
        for address in bound.addresses() {
            tracing::info!(%address, "admin");
        }
        let bind = admin.map(|admin| admin.bind.clone());
        for address in self.admin_sockets.keep(bind.as_slice()) {
            tracing::info!(%address, "admin no more");
        }
        let Some(admin) = admin else { return };
        let app = AdminApp::new(admin.clone(), metrics_path.to_owned(), Arc::clone(&self.process));
        let current = match &self.admin {
            Some(current) => {
                current.replace(app);
                Arc::clone(current)
            }
            None => Arc::clone(self.admin.insert(Arc::new(Current::new(app)))),
        };
        self.admin_sockets.open(bound, &current, &Places::new(ADMIN_MAX_CONNECTIONS));
    }
}

/// Binds the admin address, if there is one and `present` does not have it.
pub(super) fn bind_admin(
    admin: Option<&Admin>,
    present: Option<&Sockets>,
) -> Result<sockets::Bound, BindError> {
    let bind = admin.map(|admin| admin.bind.clone());
    sockets::Bound::new(bind.as_slice(), present, |_| None, &ADMIN_KEEPALIVE)
}

async fn decline(commands: &mut mpsc::Receiver<Command>, registry: &Registry) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Reload(answer) => {
                let _ = answer.send(Err(NotReloaded::Refused("the process drains")));
            }
            Command::Drain(answer) => {
                let _ = answer.send(registry.open());
            }
        }
    }
}
