//! An application that can be replaced while its sockets accept: each connection is served by the
//! one in use when it came.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::accept::Serve;
use crate::admin::AdminApp;
use crate::client::Accepted;
use crate::proxy::app::App;
use crate::telemetry::connections::Refused;

/// The one in use.
pub struct Current<A>(ArcSwap<A>);

impl<A> Current<A> {
    /// To begin with.
    pub fn new(app: A) -> Self {
        Self(ArcSwap::from_pointee(app))
    }

    /// Uses `app` for connections that come from now on; gives the one before.
    pub fn replace(&self, app: A) -> Arc<A> {
        self.0.swap(Arc::new(app))
    }

    /// The one in use.
    pub fn get(&self) -> Arc<A> {
        self.0.load_full()
    }
}

impl Serve for Current<App> {
    // Not `async`: each future around another is one more thing to go through for every event.
    fn serve(self: Arc<Self>, accepted: Accepted) -> impl Future<Output = ()> + Send {
        self.0.load_full().serve(accepted)
    }

    fn turn_away(self: &Arc<Self>, accepted: Accepted) {
        self.0.load().turn_away(accepted);
    }

    fn count(&self, refused: Refused) {
        self.0.load().count(refused);
    }
}

impl Serve for Current<AdminApp> {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        self.0.load_full().serve(accepted).await;
    }

    fn turn_away(self: &Arc<Self>, _: Accepted) {}

    /// The admin address is not among the listeners that are counted.
    fn count(&self, _: Refused) {}
}
