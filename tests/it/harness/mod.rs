//! The proxy, and peers that do as they are told.

mod client;
mod peer;
mod proxy;
mod upstream;

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpStream;

pub use client::{Client, Response};
pub use peer::Peer;
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

/// Waits until the other end of a connection on this machine has read all that was written to it,
/// so that the next bytes come in a read of their own.
pub async fn taken(stream: &TcpStream) {
    let (ours, theirs) = (stream.local_addr().unwrap().port(), stream.peer_addr().unwrap().port());
    let ends = format!(":{theirs:04X} 0100007F:{ours:04X} ");
    let unread = async {
        loop {
            let table = tokio::fs::read_to_string("/proc/net/tcp").await.unwrap();
            let line = table.lines().find(|line| line.contains(&ends));
            // The fifth column is `tx_queue:rx_queue`.
            let queues = line.and_then(|line| line.split_whitespace().nth(4));
            if queues.is_none_or(|queues| queues.ends_with(":00000000")) {
                break;
            }
        }
    };
    soon("the other end to read", unread).await;
}
