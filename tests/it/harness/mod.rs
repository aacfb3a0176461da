//! The proxy, and peers that do as they are told.

mod client;
mod peer;
mod proxy;
mod upstream;

use std::future::Future;
use std::time::Duration;

pub use client::{Client, Response};
pub use peer::{Peer, peers};
pub use proxy::{Proxy, ProxyBuilder};
pub use upstream::{Conversation, Upstream};

/// For anything that should happen at once; generous, since the machine may be busy.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits for what must happen soon.
#[track_caller]
pub fn soon<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(SOON, future).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: waited {SOON:?} in vain for {what}"),
        }
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn until<F, A>(what: &str, mut ask: F) -> impl Future<Output = ()>
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    let place = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let asking = async {
            while !ask().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(SOON, asking).await.is_err() {
            panic!("{place}: waited {SOON:?} in vain until {what}");
        }
    }
}
