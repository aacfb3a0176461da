//! The listeners that run, and how a reload changes them: addresses come and go, settings hold for
//! connections that come from then on, and open connections stay.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::accept::Places;
use super::certificates;
use super::current::Current;
use super::handoff::Offered;
use super::inherited::Inherited;
use super::listener::Listening;
use super::run::RunError;
use super::sockets::{Bound, Sockets};
use crate::client::tls::TlsServer;
use crate::config::model::{Bind, Listener};
use crate::contain::keep_up;
use crate::proxy::app::{App, Shared};
use crate::telemetry::metrics::Metrics;

/// What all of them have in common.
#[derive(Clone)]
pub struct Common {
    /// What their applications share.
    pub shared: Arc<Shared>,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The places of client connections.
    pub places: Places,
}

/// All listeners that run.
#[derive(Default)]
pub struct Listeners(Vec<Running>);

struct Running {
    rules: Listener,
    app: Arc<Current<App>>,
    sockets: Sockets,
    /// Turns true when its connections are to end after what they do.
    ending: watch::Sender<bool>,
    /// Looks after its certificates.
    watcher: Option<AbortHandle>,
}

/// A set of listeners that can be put in force.
pub struct Prepared(Vec<(Listener, Option<Arc<TlsServer>>, Bound)>);

/// Loads what `tls` of a listener names.
pub fn tls_of(listener: &Listener) -> Result<Option<Arc<TlsServer>>, RunError> {
    let tls = listener.tls.as_ref().map(|tls| TlsServer::new(tls, listener.protocols));
    let tls = tls.transpose();
    let fail = |reason| RunError::Tls { listener: listener.name.clone(), reason };
    Ok(tls.map_err(fail)?.map(Arc::new))
}

impl Prepared {
    /// Where the new sockets listen.
    pub fn addresses(&self) -> Vec<Bind> {
        self.0.iter().flat_map(|(_, _, bound)| bound.addresses()).collect()
    }
}

impl Listeners {
    /// Loads what is needed and binds the addresses that are new; must be called inside a runtime.
    pub fn prepare(
        &self,
        listeners: &[Listener],
        inherited: &mut Inherited,
    ) -> Result<Prepared, RunError> {
        let mut prepare = |listener: &Listener| {
            let tls = tls_of(listener)?;
            let present = self.0.iter().find(|running| running.rules.name == listener.name);
            let present = present.map(|running| &running.sockets);
            let elsewhere =
                |bind: &Bind| self.0.iter().find_map(|other| other.gives_up(bind, listeners));
            let keepalive = &listener.tcp_keepalive;
            let bound = Bound::new(&listener.bind, present, elsewhere, inherited, keepalive)?;
            Ok((listener.clone(), tls, bound))
        };
        listeners.iter().map(&mut prepare).collect::<Result<_, _>>().map(Prepared)
    }

    /// Puts a set in force.
    pub fn begin(&mut self, prepared: Prepared, common: &Common) {
        let (mut before, mut after) = (std::mem::take(&mut self.0), Vec::new());
        for (rules, tls, bound) in prepared.0 {
            let same = before.iter().position(|running| running.rules.name == rules.name);
            for address in bound.addresses() {
                tracing::info!(listener = rules.name, %address, "listening");
            }
            after.push(match same {
                Some(at) => before.swap_remove(at).change(rules, tls, bound, common),
                None => Running::new(rules, tls, bound, common),
            });
        }
        before.into_iter().for_each(Running::end);
        self.0 = after;
    }

    /// The sockets of all of them, to be given away.
    pub fn offer(&self) -> io::Result<Vec<Offered>> {
        let offered: Result<Vec<_>, _> = self.0.iter().map(|one| one.sockets.offer()).collect();
        Ok(offered?.into_iter().flatten().collect())
    }

    /// Accepts nothing any more, and has the connections end after what they do. Comes back when
    /// what the kernel had accepted is being served.
    pub async fn close(&mut self) {
        for running in &mut self.0 {
            running.ending.send_replace(true);
        }
        for mut running in self.0.drain(..) {
            running.sockets.close().await;
        }
    }
}

impl Running {
    fn new(rules: Listener, tls: Option<Arc<TlsServer>>, bound: Bound, common: &Common) -> Self {
        let ending = watch::Sender::new(false);
        let app = Arc::new(Current::new(app(&rules, tls.as_ref(), &ending, common)));
        let watcher = watch_certificates(&rules, tls, common);
        let mut sockets = Sockets::default();
        sockets.open(bound, &app, &common.places);
        Self { rules, app, sockets, ending, watcher }
    }

    fn change(
        mut self,
        rules: Listener,
        tls: Option<Arc<TlsServer>>,
        bound: Bound,
        common: &Common,
    ) -> Self {
        // With TLS, the files may have changed while their names have not.
        if rules != self.rules || tls.is_some() {
            self.app.replace(app(&rules, tls.as_ref(), &self.ending, common));
        }
        if rules.tcp_keepalive != self.rules.tcp_keepalive {
            self.sockets.set_keepalive(&rules.tcp_keepalive);
        }
        for address in self.sockets.keep(&rules.bind) {
            tracing::info!(listener = rules.name, %address, "listening no more");
        }
        self.sockets.open(bound, &self.app, &common.places);
        self.stop_watching();
        for file in self.certificate_files() {
            common.metrics.hide_certificate(&self.rules.name, &file);
        }
        self.watcher = watch_certificates(&rules, tls, common);
        self.rules = rules;
        self
    }

    /// The socket of an address that it no longer has among `listeners`.
    fn gives_up(&self, bind: &Bind, listeners: &[Listener]) -> Option<&Listening> {
        let mut same = listeners.iter().filter(|listener| listener.name == self.rules.name);
        if same.any(|listener| listener.bind.contains(bind)) {
            return None;
        }
        self.sockets.get(bind)
    }

    /// Accepts nothing any more; its connections end after what they do.
    fn end(mut self) {
        for address in self.sockets.keep(&[]) {
            tracing::info!(listener = self.rules.name, %address, "listening no more");
        }
        self.ending.send_replace(true);
        self.stop_watching();
    }

    fn certificate_files(&self) -> Vec<String> {
        let pairs = self.rules.tls.iter().flat_map(|tls| &tls.certificates);
        pairs.map(|pair| pair.cert.display().to_string()).collect()
    }

    fn stop_watching(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

fn app(
    rules: &Listener,
    tls: Option<&Arc<TlsServer>>,
    ending: &watch::Sender<bool>,
    common: &Common,
) -> App {
    let metrics = common.metrics.listener(&rules.name);
    let (shared, tls) = (Arc::clone(&common.shared), tls.map(Arc::clone));
    App::new(shared, rules.clone(), tls, metrics, ending.subscribe())
}

fn watch_certificates(
    rules: &Listener,
    tls: Option<Arc<TlsServer>>,
    common: &Common,
) -> Option<AbortHandle> {
    let tls = tls?;
    certificates::show(&rules.name, &tls, &common.metrics);
    let interval = rules.tls.as_ref()?.reload?;
    let (name, metrics) = (rules.name.clone(), Arc::clone(&common.metrics));
    let watching = keep_up("watch certificates", move || {
        certificates::watch(name.clone(), Arc::clone(&tls), Arc::clone(&metrics), interval)
    });
    Some(tokio::spawn(watching).abort_handle())
}
