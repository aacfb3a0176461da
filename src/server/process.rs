//! A process that serves: what it hears of, and what it does then, one after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{RwLock, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::accept::Places;
use super::current::Current;
use super::descriptors;
use super::drain::drain;
use super::handoff::Offered;
use super::inherited::{Inherited, Taken};
use super::listener::BindError;
use super::listeners::{Common, Listeners};
use super::notify::{self, Watchdog};
use super::predecessor::Predecessor;
use super::reload;
use super::run::{Bound, RunError};
use super::signal::{Heard, Signals, reopen_log};
use super::sockets::{self, Sockets};
use super::spans::Export;
use super::upgrade::{Came, Successor, Upgrades};
use crate::admin::control::{Command, Control, NotReloaded, Reloaded};
use crate::admin::{AdminApp, Process, WATCHERS_MAX};
use crate::clock;
use crate::config::model::{Admin, Config, Metrics, TcpKeepalive};
use crate::live::registry::Registry;
use crate::proxy::app::Shared;
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::spans::Spans;

/// TCP keep-alive of the admin address, which has no key for it.
pub(super) const ADMIN_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 6,
    user_timeout: Duration::ZERO,
};

/// Connections of the admin address at once. They are not counted among those of clients, so that
/// operators get in when nobody else does.
const ADMIN_MAX_CONNECTIONS: usize = 256;

/// How long the end waits for answers that operators are getting.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Why a process does not serve any more.
enum Ending {
    /// A signal or an operator wants it to end.
    Asked(&'static str),
    /// Another one serves.
    Replaced(Successor),
}

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
    upgrades: Upgrades,
    export: Export,
    /// Why the configuration was not used, the last time that it was read.
    pub(super) last_error: Option<String>,
}

impl Serving {
    /// Begins to serve what was bound; must be called inside a runtime.
    pub fn begin(bound: Bound, file: Option<&Path>) -> (Self, mpsc::Receiver<Command>) {
        let Bound { prepared, metrics, listeners, admin, upgrade, .. } = bound;
        let started = prepared.config().clone();
        let metrics = Arc::new(metrics);
        // Packagers set the revision when they build.
        let revision = option_env!("LONGWIRE_REVISION").unwrap_or("unknown");
        metrics.draining().set(0);
        metrics.set_build_info(env!("CARGO_PKG_VERSION"), revision);
        let registry = Arc::new(Registry::default());
        let snapshot = Arc::new(prepared.begin(&metrics));
        let (spans, queue) = Spans::new(&metrics);
        let shared = Arc::new(Shared::new(snapshot, registry, spans));
        let export = Export::start(queue, &shared);
        let limit = started.server.max_connections;
        let places = Places::new(limit.unwrap_or_else(descriptors::max_connections));
        let common = Common { shared, metrics, places };
        let (control, commands) = Control::new();
        let process = Process {
            metrics: Arc::clone(&common.metrics),
            shared: Arc::clone(&common.shared),
            ready: AtomicBool::new(true),
            replaced: watch::Sender::new(false),
            control,
            started: clock::now(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            answering: RwLock::default(),
        };
        let mut serving = Self {
            file: file.map(Path::to_owned),
            started: started.clone(),
            listeners: Listeners::default(),
            process: Arc::new(process),
            admin: None,
            admin_sockets: Sockets::default(),
            upgrades: Upgrades::new(upgrade),
            export,
            last_error: None,
            common,
        };
        serving.listeners.begin(listeners, &serving.common);
        serving.begin_admin(started.admin.as_ref(), &started.metrics, admin);
        serving.note_load(true, false);
        (serving, commands)
    }

    /// Serves until it is asked to end or replaced, and drains. First, if it is a successor, it
    /// replaces the one before it.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        predecessor: Option<(Predecessor, Taken)>,
    ) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        let replacing = match predecessor {
            Some((predecessor, taken)) => predecessor.replace(taken).await,
            None => Ok(()),
        };
        let ending = if replacing.is_ok() {
            notify::ready();
            let _watchdog = Watchdog::start();
            self.serve(&mut signals, &mut commands).await
        } else {
            // What it has accepted meanwhile is served to its end.
            Ending::Asked("the running process")
        };
        let mut rules = self.snapshot().config.server.drain.clone();
        let registry = Arc::clone(&self.common.shared.registry);
        match ending {
            Ending::Asked(asked) => {
                if replacing.is_ok() {
                    notify::stopping();
                }
                tracing::info!(asked, open = registry.open(), "draining");
                self.upgrades.close();
            }
            Ending::Replaced(successor) => {
                let asked = "upgrade";
                tracing::info!(
                    asked,
                    successor = successor.pid,
                    open = registry.open(),
                    "draining"
                );
                self.yield_to(successor).await;
                // Nobody has to go elsewhere.
                rules.min_wait = Duration::ZERO;
            }
        }
        self.process.ready.store(false, Ordering::Release);
        self.common.metrics.draining().set(1);
        let draining = async {
            drain(&rules, &registry, &mut self.listeners, &self.common.places).await;
            self.export.finish().await;
            // Those who have asked, for the end perhaps, get their answers.
            let _ = timeout(LAST_ANSWERS, self.process.answering.write()).await;
        };
        tokio::select! {
            () = draining => {}
            signal = signals.end() => tracing::warn!(signal, "ending at once"),
            // They cannot be granted any more, but are answered.
            () = decline(&mut commands, &registry) => {}
        }
        // Their sockets' files go with them. The admin address answers until the very end.
        self.listeners.close().await;
        self.admin_sockets.close().await;
        tracing::info!(open = registry.open(), "stopped");
        Ok(replacing?)
    }

    /// Accepts nothing any more, at no address: another process does.
    async fn yield_to(&mut self, successor: Successor) {
        successor.leave_files();
        self.process.replaced.send_replace(true);
        self.upgrades.close();
        self.admin_sockets.close().await;
        self.listeners.close().await;
        notify::main_pid(successor.pid);
        successor.yield_to().await;
    }

    /// All sockets that can be handed over.
    fn offer(&self) -> std::io::Result<Vec<Offered>> {
        let mut offered = self.listeners.offer()?;
        offered.extend(self.admin_sockets.offer()?.into_iter().map(Offered::for_admin));
        offered.extend(self.upgrades.offer()?);
        Ok(offered)
    }

    /// Serves until it is asked to end or replaced.
    async fn serve(
        &mut self,
        signals: &mut Signals,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Ending {
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
                    Heard::End(signal) => return Ending::Asked(signal),
                    Heard::Upgrade => self.upgrades.start(),
                    Heard::Reopen => reopen_log(),
                    Heard::Reload => {
                        notify::reloading();
                        let reloaded = signals.unless_end(self.read_and_reload()).await;
                        notify::ready();
                        // What else came of it has been logged.
                        if let Err(signal) = reloaded {
                            return Ending::Asked(signal);
                        }
                    }
                },
                // The other end is in `self`.
                Some(command) = commands.recv() => match command {
                    Command::Reload(answer) => {
                        match signals.unless_end(self.read_and_reload()).await {
                            // Whoever asked may have left.
                            Ok(reloaded) => _ = answer.send(reloaded),
                            Err(signal) => return Ending::Asked(signal),
                        }
                    }
                    Command::Drain(answer) => {
                        let _ = answer.send(self.common.shared.registry.open());
                        return Ending::Asked("POST /-/drain");
                    }
                },
                came = self.upgrades.next() => match came {
                    Came::Asks(visitor) => {
                        let offered = self.offer();
                        self.upgrades.hand_over(visitor, offered);
                    }
                    Came::Serves(successor) => return Ending::Replaced(successor),
                },
                () = look => {
                    if let Err(signal) = signals.unless_end(self.look()).await {
                        return Ending::Asked(signal);
                    }
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
        self.reload(found, true).await
    }

    /// Reloads if the configuration says something else than the last time. Comparing what it says
    /// finds every way in which it can change: written in place, replaced, a symbolic link that now
    /// leads elsewhere, an included file, a secret.
    async fn look(&mut self) {
        let Some(file) = &self.file else { return };
        let found = reload::read(file).await;
        let is_in_use = found.as_ref().is_ok_and(|config| *config == self.snapshot().config);
        match (is_in_use, &self.last_error) {
            (true, None) => {}
            // The mistake was taken back.
            (true, Some(_)) => {
                self.last_error = None;
                self.note_load(true, true);
            }
            // It has been logged.
            (false, _) => _ = self.reload(found, false).await,
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
        bind_admin(admin, Some(&self.admin_sockets), &mut Inherited::default())
    }

    pub(super) fn begin_admin(
        &mut self,
        admin: Option<&Admin>,
        metrics: &Metrics,
        bound: sockets::Bound,
    ) {
        for address in bound.addresses() {
            tracing::info!(%address, "admin");
        }
        let bind = admin.map(|admin| admin.bind.clone());
        for address in self.admin_sockets.keep(bind.as_slice()) {
            tracing::info!(%address, "admin no more");
        }
        let Some(admin) = admin else {
            if let Some(current) = self.admin.take() {
                current.get().outdate();
            }
            return;
        };
        let app = AdminApp::new(admin.clone(), metrics.clone(), Arc::clone(&self.process));
        let current = match &self.admin {
            Some(current) if current.get().is_like(&app) => Arc::clone(current),
            Some(current) => {
                current.replace(app).outdate();
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
    inherited: &mut Inherited,
) -> Result<sockets::Bound, BindError> {
    let bind = admin.map(|admin| admin.bind.clone());
    sockets::Bound::new(bind.as_slice(), present, |_| None, inherited, &ADMIN_KEEPALIVE)
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
