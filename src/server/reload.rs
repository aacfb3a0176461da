//! Another configuration for a process that serves: all of it, or nothing.

use std::path::Path;
use std::sync::Arc;

use super::inherited::Inherited;
use super::process::Serving;
use super::run::RunError;
use crate::admin::control::{NotReloaded, Reloaded};
use crate::config::model::Config;
use crate::config::{self, LoadError};
use crate::proxy::snapshot::Snapshot;
use crate::telemetry::log;

/// What was found when the configuration was read: it, or what is wrong with it.
pub type Found = Result<Config, String>;

/// Reads the configuration in a thread that may block.
pub async fn read(file: &Path) -> Found {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || config::load(&path)).await;
    let read = read.map_err(|error| error.to_string())?;
    let config = read.map(|loaded| loaded.config);
    config.map_err(|error| match error {
        LoadError::Invalid { errors, .. } => errors.render(false),
        error @ LoadError::Read { .. } => format!("{error}\n"),
    })
}

impl Serving {
    /// Uses what was found, if it can be used; says so in the log and in the metrics. If nobody
    /// asked for it, the same mistake is told once. May be given up while it waits: nothing has
    /// been changed then.
    pub async fn reload(&mut self, found: Found, was_asked: bool) -> Result<Reloaded, NotReloaded> {
        let used = match found {
            Ok(config) => self.replace(config).await.map_err(|error| format!("{error}\n")),
            Err(errors) => Err(errors),
        };
        let is_known =
            !was_asked && used.as_ref().is_err_and(|error| self.last_error.as_ref() == Some(error));
        if !is_known {
            self.note_load(used.is_ok(), true);
        }
        match used {
            Ok(reloaded) => {
                self.last_error = None;
                tracing::info!("configuration reloaded");
                for key in &reloaded.needs_restart {
                    tracing::warn!(key, "changed, which needs a restart or an upgrade");
                }
                Ok(reloaded)
            }
            Err(error) => {
                if !is_known {
                    tracing::error!(error = error.trim_end(), "configuration stays as it was");
                }
                self.last_error = Some(error.clone());
                Err(NotReloaded::Invalid(error))
            }
        }
    }

    /// Builds everything, then puts it in force.
    async fn replace(&mut self, config: Config) -> Result<Reloaded, RunError> {
        let (metrics, before) = (Arc::clone(&self.common.metrics), self.snapshot());
        // It reads files.
        let prepare = move || Snapshot::prepare(config, Some(&before), &metrics);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let prepared = prepared.map_err(std::io::Error::other)??;
        let config = prepared.config().clone();
        let listeners = self.listeners.prepare(&config.listeners, &mut Inherited::default())?;
        let admin = self.prepare_admin(config.admin.as_ref())?;
        // From here on nothing fails.
        let snapshot = prepared.begin(&self.common.metrics);
        self.common.shared.snapshot.store(Arc::new(snapshot));
        self.listeners.begin(listeners, &self.common);
        self.begin_admin(config.admin.as_ref(), &config.metrics, admin);
        log::set_level(config.log.level);
        Ok(Reloaded { needs_restart: needs_restart(&self.started, &config) })
    }
}

/// The keys that differ and are looked at only when the process starts.
fn needs_restart(started: &Config, config: &Config) -> Vec<&'static str> {
    let (one, other) = (&started.server, &config.server);
    let differ = [
        ("server.workers", one.workers != other.workers),
        ("server.max_connections", one.max_connections != other.max_connections),
        ("server.upgrade_socket", one.upgrade_socket != other.upgrade_socket),
        ("log.format", started.log.format != config.log.format),
        ("log.file", started.log.file != config.log.file),
    ];
    differ.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
