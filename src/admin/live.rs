//! `/api/live`: an event stream of what changes, for one watcher.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::groups::list_upstreams;
use super::{AdminApp, Answer, Process, Served};
use crate::client::Client;
use crate::clock;
use crate::config::model::Admin;
use crate::live::feed::{Feed, Totals};
use crate::live::row::{seconds, since_epoch};
use crate::live::stream::Stream;
use crate::proxy::app::date;
use crate::proxy::reply::Denial;

use super::table::view;

/// From one delta to the next.
const EVERY: Duration = Duration::from_secs(1);

/// How long a watcher may take to read what it is told. One that does not read is ended: it can ask
/// again when it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// A place for a watcher, if there is one.
pub(super) fn begin(process: &Process) -> Served {
    match Arc::clone(&process.watchers).try_acquire_owned() {
        Ok(place) => Served::Live(place),
        Err(_) => {
            let message = "there are as many watchers as there may be";
            let denial = Denial::new(429, "too_many_watchers", message);
            Served::from(Answer::from(denial))
        }
    }
}

/// Tells a watcher what changes until it leaves.
pub(super) async fn feed(client: &mut Client, app: Arc<AdminApp>) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: text/event-stream\r\n\
         Cache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n",
        date()
    );
    let begun = spawn_blocking({
        let app = Arc::clone(&app);
        move || Watch::begin(&app.process, &app.admin)
    });
    let Ok((mut watch, snapshot)) = begun.await else { return };
    let mut message = head + &snapshot;
    loop {
        if client.write_all(message.as_bytes(), PATIENCE).await.is_err() {
            return;
        }
        drop(message);
        tokio::select! {
            () = client.gone() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let told = spawn_blocking({
            let app = Arc::clone(&app);
            move || {
                let delta = watch.delta(&app.process);
                (watch, delta)
            }
        });
        let Ok(next) = told.await else { return };
        (watch, message) = next;
    }
}

/// What one watcher has been told.
struct Watch {
    feed: Feed,
    upstreams: Value,
    trusted: bool,
}

impl Watch {
    fn begin(process: &Process, admin: &Admin) -> (Self, String) {
        let registry = &process.shared.registry;
        let trusted = admin.token.is_some();
        let (open, view) = (registry.streams(), view(process, trusted));
        let (feed, delta) = Feed::begin(&open, registry.past(), view);
        let upstreams = list_upstreams(process);
        let snapshot = json!({
            "now": since_epoch(clock::wall()),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime": seconds(view.now.saturating_duration_since(process.started)),
            "draining": is_draining(process),
            "allow_kill": admin.allow_kill,
            "totals": totals(process, &open),
            "streams": delta.opened,
            "ended": delta.ended,
            "upstreams": upstreams,
        });
        (Self { feed, upstreams, trusted }, event("snapshot", &snapshot))
    }

    fn delta(&mut self, process: &Process) -> String {
        let registry = &process.shared.registry;
        let (open, view) = (registry.streams(), view(process, self.trusted));
        let delta = self.feed.look(&open, registry.past(), view);
        let mut body = json!({
            "now": since_epoch(clock::wall()),
            "draining": is_draining(process),
            "totals": totals(process, &open),
            "opened": delta.opened,
            "changed": delta.changed,
            "ended": delta.ended,
        });
        let upstreams = list_upstreams(process);
        if upstreams != self.upstreams {
            body["upstreams"] = upstreams.clone();
            self.upstreams = upstreams;
        }
        event("delta", &body)
    }
}

fn is_draining(process: &Process) -> bool {
    !process.ready.load(Ordering::Acquire)
}

fn totals(process: &Process, open: &[Arc<Stream>]) -> Value {
    let mut totals = json!(Totals::new(&process.shared.registry, open, clock::now()));
    totals["resident_bytes"] = json!(process.metrics.resident_bytes());
    totals["connections"] = json!(process.metrics.connections());
    totals
}

fn event(name: &str, data: &Value) -> String {
    let mut text = String::with_capacity(4096);
    // Writing into a string cannot fail.
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
    text
}
