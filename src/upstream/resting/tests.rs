use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::config::{SystemEnv, parse};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;
use crate::upstream::transport::Transport;

const HOUR: Duration = Duration::from_secs(3600);

fn endpoint() -> Arc<Endpoint> {
    let text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
                [routes.all]\nupstream = \"http://127.0.0.1:1\"\n";
    let config = parse(text, "test.toml", &SystemEnv);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let upstream = Upstream::new(&config.upstreams[0], &Metrics::new()).unwrap();
    let endpoints = upstream.roster().endpoints();
    Arc::clone(&endpoints[0])
}

/// One more that rests, and its other end.
fn rest(endpoint: &Arc<Endpoint>, limit: Option<Duration>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut connection = Connection::new(Transport::Unix(ours), Arc::clone(endpoint), None);
    assert!(connection.rest(usize::MAX, limit, clock::now()));
    endpoint.resting().put(connection);
    theirs
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

fn is_watched(endpoint: &Endpoint) -> bool {
    endpoint.resting().lock().watch.is_some()
}

#[tokio::test]
async fn what_the_other_end_closes_leaves_at_once_and_the_others_stay() {
    let endpoint = endpoint();
    // More than a task may poll in one go.
    let mut peers: Vec<_> = (0..300).map(|_| rest(&endpoint, Some(HOUR))).collect();
    tokio::task::yield_now().await;
    drop(peers.split_off(1));
    until("one is left", || endpoint.idle() == 1).await;
    assert_eq!(endpoint.resting().lock().connections.len(), 1);
    drop(peers);
    until("none is left", || endpoint.idle() == 0).await;
    assert!(!is_watched(&endpoint), "there is nothing to watch");
}

#[tokio::test]
async fn one_that_says_something_is_closed() {
    let endpoint = endpoint();
    let peer = rest(&endpoint, None);
    peer.writable().await.unwrap();
    peer.try_write(b"stray").unwrap();
    until("it is closed", || endpoint.idle() == 0).await;
}

#[tokio::test]
async fn each_goes_when_its_time_is_over() {
    let endpoint = endpoint();
    let _never = rest(&endpoint, None);
    let _late = rest(&endpoint, Some(HOUR));
    tokio::task::yield_now().await;
    assert_eq!(
        endpoint.resting().lock().watch.as_ref().map(|watch| watch.at.is_some()),
        Some(true)
    );
    // Sooner than the time at which it would be looked at.
    let _soon = rest(&endpoint, Some(Duration::from_millis(20)));
    until("two are left", || endpoint.idle() == 2).await;
}

#[tokio::test]
async fn the_last_that_came_is_the_first_to_go() {
    let endpoint = endpoint();
    let _old = rest(&endpoint, Some(HOUR));
    let _new = rest(&endpoint, None);
    let taken = endpoint.resting().take().unwrap();
    assert!(taken.rests_until().is_none(), "it is the new one");
    assert!(endpoint.resting().take().is_some());
    assert!(endpoint.resting().take().is_none());
}

#[tokio::test]
async fn nobody_watches_what_was_forgotten() {
    let endpoint = endpoint();
    let mut peer = rest(&endpoint, None);
    tokio::task::yield_now().await;
    assert!(is_watched(&endpoint));
    endpoint.forget();
    assert_eq!(endpoint.idle(), 0);
    let mut end = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut end).await.unwrap();
    until("nobody watches", || !is_watched(&endpoint)).await;
    let _again = rest(&endpoint, None);
    assert!(is_watched(&endpoint), "somebody watches again");
}
