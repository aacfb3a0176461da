//! `longwire run` and `longwire check`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::Path;

use super::{Failure, RunArgs, print};
use crate::config::model::{Admin, Bind, Config};
use crate::config::{self, LoadError, Loaded, defaults};
use crate::server::inherited::Inherited;
use crate::server::predecessor::Predecessor;
use crate::server::run::RunError;
use crate::server::{descriptors, run};
use crate::telemetry::log;

pub(super) fn run(args: RunArgs) -> Result<(), Failure> {
    let config = match (&args.config, &args.upstream) {
        (Some(path), _) => load(path)?.config,
        (None, Some(url)) => {
            let mut config = config::simple(url, args.listen)
                .map_err(|error| Failure::Config(format!("longwire: --upstream: {error}\n")))?;
            config.admin = args.admin.0.map(admin);
            config
        }
        (None, None) => unreachable!("the command line demands one of them"),
    };
    let successor_of = match (args.upgrade, &config.server.upgrade_socket) {
        (false, _) => None,
        (true, Some(socket)) => Some(socket.clone()),
        (true, None) => {
            let message = "longwire: --upgrade needs server.upgrade_socket in the configuration\n";
            return Err(Failure::Config(message.to_owned()));
        }
    };
    // Before there are threads.
    let activated = Inherited::activated();
    let _log = log::init(&config.log)?;
    descriptors::raise_limit();
    let runtime = runtime(&config)?;
    let served = runtime.block_on(async {
        let (predecessor, inherited) = inherit(activated, successor_of.as_deref())?;
        let bound = run::bind_unless(inherited, config)?;
        bound.replace(predecessor, args.config.as_deref()).await
    });
    runtime.shutdown_background();
    served.map_err(failure)
}

/// The sockets that need not be bound, and the process that some of them are from. One command line
/// is to do for the first start as well: that nobody runs is no failure.
fn inherit(
    mut inherited: Inherited,
    successor_of: Option<&Path>,
) -> Result<(Option<Predecessor>, Inherited), RunError> {
    let Some(socket) = successor_of else { return Ok((None, inherited)) };
    let predecessor = Predecessor::find(socket, &mut inherited)?;
    if predecessor.is_none() {
        let socket = socket.display();
        tracing::warn!(%socket, "no process runs that could be upgraded: starting as the first");
    }
    Ok((predecessor, inherited))
}

/// Without a file there are no secrets.
fn admin(address: SocketAddr) -> Admin {
    Admin {
        bind: Bind::Tcp(address),
        token: None,
        dashboard: defaults::ADMIN_DASHBOARD,
        allow_kill: defaults::ALLOW_KILL,
    }
}

/// A configuration that cannot be used is as wrong as one that cannot be read.
fn failure(error: RunError) -> Failure {
    match error {
        error @ (RunError::Snapshot(_) | RunError::Tls { .. }) => {
            Failure::Config(format!("longwire: {error}\n"))
        }
        error => error.into(),
    }
}

/// The threads that do the work. One alone has nobody to share with, and runs without what sharing
/// costs: a seventh of an event.
fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match config.server.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(config.server.workers).thread_name("longwire").enable_all().build()
}

pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = load(path)?.config;
    let summary = format!(
        "{}: ok: {}, {}, {}\n",
        path.display(),
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.upstreams.len(), "upstream"),
    );
    run::check(config).map_err(failure)?;
    print(&summary);
    Ok(())
}

pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    config::load(path).map_err(|error| match error {
        LoadError::Invalid { errors, .. } => {
            Failure::Config(errors.render(std::io::stderr().is_terminal()))
        }
        error @ LoadError::Read { .. } => Failure::Config(format!("longwire: {error}\n")),
    })
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
