//! `longwire run` and `longwire check`.

use std::io::IsTerminal as _;
use std::path::Path;

use super::{Failure, RunArgs, print};
use crate::config::model::{Admin, Bind, Config};
use crate::config::{self, LoadError, Loaded};
use crate::server::run::RunError;
use crate::server::{descriptors, run};
use crate::telemetry::log;

pub(super) fn run(args: RunArgs) -> Result<(), Failure> {
    let config = match (&args.config, &args.upstream) {
        (Some(path), _) => load(path)?.config,
        (None, Some(url)) => {
            let mut config = config::simple(url, args.listen)
                .map_err(|error| Failure::Config(format!("longwire: --upstream: {error}\n")))?;
            config.admin = args.admin.0.map(|bind| Admin { bind: Bind::Tcp(bind), token: None });
            config
        }
        (None, None) => unreachable!("the command line demands one of them"),
    };
    let _log = log::init(&config.log)?;
    descriptors::raise_limit();
    let runtime = runtime(&config)?;
    let served = runtime.block_on(async { run::bind(config)?.serve(args.config.as_deref()).await });
    runtime.shutdown_background();
    served.map_err(failure)
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

/// The threads that do the work.
fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server.workers)
        .thread_name("longwire")
        .enable_all()
        .build()
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
