//! How many exchanges are open, in all and for each client, for one route.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::Account;

/// Locks over the clients' counts.
const SHARDS: usize = 16;

/// The counts.
pub struct Streams {
    /// `usize::MAX` is no limit.
    most: AtomicUsize,
    most_per_client: AtomicUsize,
    open: AtomicUsize,
    /// Only clients with something open: no more of them than exchanges.
    clients: [Mutex<HashMap<Account, usize>>; SHARDS],
    hasher: RandomState,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That of the route.
    Route,
    /// That of the client.
    Client,
}

/// One open exchange; gives its places back when dropped.
#[must_use]
pub struct Permit {
    streams: Arc<Streams>,
    /// That of its client, if those are counted.
    _client: Option<ClientPlace>,
}

struct ClientPlace {
    streams: Arc<Streams>,
    client: Account,
}

impl Streams {
    /// Nothing is open; `None` is no limit.
    pub fn new(most: Option<usize>, most_per_client: Option<usize>) -> Self {
        Self {
            most: AtomicUsize::new(most.unwrap_or(usize::MAX)),
            most_per_client: AtomicUsize::new(most_per_client.unwrap_or(usize::MAX)),
            open: AtomicUsize::new(0),
            clients: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Goes on with other limits: what is open stays open, also beyond them. Who came in while
    /// nobody counted clients is not among their clients' exchanges.
    pub fn limit(&self, most: Option<usize>, most_per_client: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), Ordering::Release);
        self.most_per_client.store(most_per_client.unwrap_or(usize::MAX), Ordering::Release);
    }

    /// Takes a place for an exchange of `client`. The client's own limit is asked first: who has
    /// too much open is told so, however full the route is.
    pub fn enter(self: &Arc<Self>, client: Account) -> Result<Permit, Full> {
        let most_each = self.most_per_client.load(Ordering::Acquire);
        let is_counted = most_each < usize::MAX;
        let place = is_counted.then(|| self.enter_client(client, most_each)).transpose()?;
        let most = self.most.load(Ordering::Acquire);
        let more = |open: usize| Some(open + 1).filter(|open| *open <= most);
        let entered = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.map_err(|_| Full::Route)?;
        Ok(Permit { streams: Arc::clone(self), _client: place })
    }

    fn enter_client(self: &Arc<Self>, client: Account, most: usize) -> Result<ClientPlace, Full> {
        let mut clients = self.shard(&client);
        let open = clients.get(&client).copied().unwrap_or(0);
        if open >= most {
            return Err(Full::Client);
        }
        clients.insert(client, open + 1);
        drop(clients);
        Ok(ClientPlace { streams: Arc::clone(self), client })
    }

    /// How many exchanges are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// How many clients have something open, if that is counted.
    pub fn clients(&self) -> usize {
        self.clients.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, client: &Account) -> MutexGuard<'_, HashMap<Account, usize>> {
        lock(&self.clients[self.hasher.hash_one(client) as usize % SHARDS])
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.streams.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut clients = self.streams.shard(&self.client);
        match clients.get_mut(&self.client) {
            Some(open) if *open > 1 => *open -= 1,
            _ => {
                clients.remove(&self.client);
            }
        }
        // A crowd that has left leaves its table behind, which is the largest part of it.
        if clients.is_empty() {
            clients.shrink_to_fit();
        }
    }
}

fn lock(shard: &Mutex<HashMap<Account, usize>>) -> MutexGuard<'_, HashMap<Account, usize>> {
    // Each step leaves it whole, so a panic elsewhere does no harm.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::principal::Principal;
    use super::*;

    fn somebody(name: &str) -> Account {
        Account::new(Principal::new(name.as_bytes()).as_ref(), None)
    }

    #[test]
    fn each_limit_has_its_own_answer_and_places_are_given_back() {
        let streams = Arc::new(Streams::new(Some(3), Some(2)));
        let first = streams.enter(somebody("a")).unwrap();
        let second = streams.enter(somebody("a")).unwrap();
        assert_eq!(streams.enter(somebody("a")).err(), Some(Full::Client));
        let other = streams.enter(somebody("b")).unwrap();
        assert_eq!(streams.enter(somebody("b")).err(), Some(Full::Route));
        assert_eq!(streams.enter(somebody("c")).err(), Some(Full::Route));
        assert_eq!(streams.enter(somebody("a")).err(), Some(Full::Client), "the nearer reason");
        assert_eq!((streams.open(), streams.clients()), (3, 2), "refusals leave nothing behind");
        drop(first);
        drop((streams.enter(somebody("a")).unwrap(), second, other));
        assert_eq!((streams.open(), streams.clients()), (0, 0));
    }

    #[test]
    fn one_limit_does_not_need_the_other() {
        let streams = Arc::new(Streams::new(Some(1), None));
        let permit = streams.enter(somebody("a")).unwrap();
        assert_eq!(streams.enter(somebody("b")).err(), Some(Full::Route));
        assert_eq!(streams.clients(), 0, "nobody counts them");
        drop(permit);
        let streams = Arc::new(Streams::new(None, Some(1)));
        let permits: Vec<_> =
            (0..100).map(|name| streams.enter(somebody(&name.to_string()))).collect();
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(streams.enter(somebody("7")).err(), Some(Full::Client));
    }

    #[test]
    fn other_limits_count_what_is_open() {
        let streams = Arc::new(Streams::new(None, Some(3)));
        let mut open: Vec<_> = (0..3).map(|_| streams.enter(somebody("a")).unwrap()).collect();
        streams.limit(Some(4), Some(2));
        assert_eq!(streams.enter(somebody("a")).err(), Some(Full::Client));
        open.push(streams.enter(somebody("b")).unwrap());
        assert_eq!(streams.enter(somebody("b")).err(), Some(Full::Route));
        open.drain(..2);
        assert!(streams.enter(somebody("a")).is_ok());
    }

    #[test]
    fn limits_hold_under_a_crowd() {
        let streams = Arc::new(Streams::new(Some(20), Some(4)));
        let refused = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (streams, refused) = (&streams, &refused);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for round in 0..20_000_usize {
                        match streams.enter(somebody(["a", "b"][(thread + round) % 2])) {
                            Ok(permit) => held.push(permit),
                            Err(_) => _ = refused.fetch_add(1, Ordering::Relaxed),
                        }
                        let open = streams.open();
                        assert!(open <= 8, "two clients of 4 have {open}");
                        if held.len() > round % 3 {
                            drop(held.swap_remove(0));
                        }
                    }
                });
            }
        });
        assert!(refused.into_inner() > 0, "the limit was reached");
        assert_eq!((streams.open(), streams.clients()), (0, 0));
    }
}
