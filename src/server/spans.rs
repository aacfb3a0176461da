//! Spans on their way out of the process, in a build that can send them.

use std::sync::Arc;

use crate::proxy::app::Shared;
use crate::telemetry::spans::Queue;

/// Sends what is queued.
#[cfg(feature = "otlp")]
pub(super) struct Export(crate::otlp::Exporter);

#[cfg(feature = "otlp")]
impl Export {
    /// Begins to send what comes out of `queue` to whom the configuration in use names; must be
    /// called inside a runtime.
    pub(super) fn start(queue: Queue, shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self(crate::otlp::Exporter::start(queue, move || {
            let snapshot = shared.snapshot.load();
            let (upstream, target) = snapshot.collector()?;
            Some(crate::otlp::Collector {
                upstream: Arc::clone(upstream),
                target: target.to_owned(),
            })
        }))
    }

    /// Sends what is there, for a short time.
    pub(super) async fn finish(&mut self) {
        self.0.finish().await;
    }
}

/// Sends nothing: there is nothing, since no configuration can ask for it.
#[cfg(not(feature = "otlp"))]
pub(super) struct Export;

#[cfg(not(feature = "otlp"))]
impl Export {
    /// Nobody takes from the queue.
    pub(super) fn start(_: Queue, _: &Arc<Shared>) -> Self {
        Self
    }

    /// At once.
    pub(super) async fn finish(&mut self) {}
}
