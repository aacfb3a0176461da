//! The end of a process that lets its exchanges end first.

use std::time::Duration;

use super::accept::Places;
use super::listeners::Listeners;
use crate::clock;
use crate::config::model::Drain;
use crate::live::farewell::Farewells;
use crate::live::registry::Registry;
use crate::proxy::app::{FIRST_LOOK, LAST_LOOK};

/// How long exchanges get to end themselves once they were told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long connections get to end after their last exchange.
const LINGER: Duration = Duration::from_millis(300);

/// Between two lines that say what is still open.
const PROGRESS: Duration = Duration::from_secs(10);

/// Lets the exchanges end, at the latest when `grace` is over.
pub async fn drain(rules: &Drain, registry: &Registry, listeners: &mut Listeners, places: &Places) {
    let draining = async {
        tokio::time::sleep(rules.min_wait).await;
        listeners.close().await;
        // What lay in the kernel becomes an exchange now.
        let _ = tokio::time::timeout(FIRST_LOOK + LAST_LOOK, places.all_free()).await;
        let Drain { grace, spread, notify, .. } = *rules;
        registry.drain_all(Farewells { began: clock::now(), grace, spread, notify });
        if tokio::time::timeout(rules.grace, registry.emptied()).await.is_err() {
            tracing::warn!(open = registry.open(), "grace is over");
            registry.end_all();
            // The few that cannot even end are dropped with the runtime.
            let _ = tokio::time::timeout(FAREWELL, registry.emptied()).await;
        }
        // What was written is on its way, and some clients have more to say: the end of the process
        // would answer that with a reset, which can overtake it.
        let _ = tokio::time::timeout(LINGER, places.all_free()).await;
    };
    tokio::select! {
        () = draining => {}
        () = tell(registry) => {}
    }
}

/// Says again and again how many exchanges are open.
async fn tell(registry: &Registry) {
    loop {
        tokio::time::sleep(PROGRESS).await;
        tracing::info!(open = registry.open(), "still draining");
    }
}
