//! The exchanges that are open: counted, shown, and told to end.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Context;

use atomic_waker::AtomicWaker;
use tokio::sync::Notify;

use super::farewell::Farewells;
use super::past::Past;
use super::stream::{Identity, Stream};

/// Locks in the registry. One would do for hundreds of exchanges a second; more of them keep the
/// workers out of each other's way at many thousands.
const SHARDS: usize = 16;

/// All open exchanges of the process.
#[derive(Default)]
pub struct Registry {
    shards: [Mutex<Vec<Weak<Entry>>>; SHARDS],
    next: AtomicU64,
    open: AtomicU64,
    /// Connections that may have to send when their exchanges are over.
    carriers: AtomicU64,
    /// The plan, once the process drains; every entry sees it.
    farewells: Arc<OnceLock<Farewells>>,
    emptied: Notify,
    past: Past,
}

/// What an open exchange was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    RunOn,
    /// The process drains: say farewell in its turn, if there is a way to say it.
    Drain(Farewells),
    /// End now.
    End {
        /// Say farewell, if that was not done before.
        farewell: bool,
    },
    /// End now: an operator wants it so.
    Kill,
}

/// One open exchange, as seen from outside of its task.
pub struct Entry {
    /// [`RUNS`] or more.
    told: AtomicU8,
    farewells: Arc<OnceLock<Farewells>>,
    waker: AtomicWaker,
    /// The waker was there before anything was told.
    heeds: AtomicBool,
    stream: Arc<Stream>,
}

/// What an entry was told, the later the stronger.
const RUNS: u8 = 0;
const KILLED: u8 = 1;
const ENDED: u8 = 2;

impl Entry {
    /// Whether the exchange was told to end; if not, its task is woken when it is.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.told.load(Ordering::Acquire) != RUNS
    }

    /// What the exchange was told; its task, the same every time, is woken when that changes.
    pub fn poll_order(&self, cx: &mut Context<'_>) -> Order {
        // Asked at every event, and a waker is used up by being told, and by nothing else.
        let is_untold = self.told.load(Ordering::Acquire) == RUNS && self.farewells.get().is_none();
        if is_untold && self.heeds.load(Ordering::Relaxed) {
            return Order::RunOn;
        }
        self.waker.register(cx.waker());
        self.heeds.store(true, Ordering::Relaxed);
        self.order()
    }

    fn order(&self) -> Order {
        let told = self.told.load(Ordering::Acquire);
        match self.farewells.get() {
            _ if told == KILLED => Order::Kill,
            farewells if told == ENDED => {
                Order::End { farewell: farewells.is_none_or(|plan| plan.notify) }
            }
            Some(farewells) if farewells.notify => Order::Drain(*farewells),
            _ => Order::RunOn,
        }
    }

    /// Its number among all exchanges of the process.
    pub fn number(&self) -> u64 {
        self.stream.number()
    }

    /// Its place in a spread, from 0 to 1: neighbours are far apart, and any run of exchanges is
    /// spread evenly (the golden ratio's low-discrepancy sequence).
    pub fn fraction(&self) -> f64 {
        (self.number() as f64 * 0.618_033_988_749_895).fract()
    }

    /// What is known of it.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    fn tell(&self, what: u8) {
        self.told.fetch_max(what, Ordering::AcqRel);
        self.waker.wake();
    }
}

/// Holds an exchange's place in the registry; gives it back when dropped.
pub struct Place {
    entry: Arc<Entry>,
    registry: Arc<Registry>,
}

impl Place {
    /// The exchange's entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.past.left(&self.entry.stream);
        if self.registry.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.registry.emptied.notify_waiters();
        }
    }
}

/// A connection that carries exchanges and may have to send when they are over: what waits for an
/// HTTP/2 client's windows is still its due. Over when dropped.
pub struct Carrier {
    registry: Arc<Registry>,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if self.registry.carriers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.registry.emptied.notify_waiters();
        }
    }
}

impl Registry {
    /// Enters a new exchange. One that comes while the process drains is told so, too.
    pub fn enter(self: &Arc<Self>, stream: Arc<Stream>, identity: Identity) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        stream.identify(number, identity);
        let entry = Arc::new(Entry {
            told: AtomicU8::new(RUNS),
            farewells: Arc::clone(&self.farewells),
            waker: AtomicWaker::new(),
            heeds: AtomicBool::new(false),
            stream,
        });
        self.open.fetch_add(1, Ordering::AcqRel);
        let mut shard = lock(&self.shards[number as usize % SHARDS]);
        // Places of the dead are reused here rather than looked for when they die: a full vector is
        // swept before it would grow, so the work is constant per entry on average.
        if shard.len() == shard.capacity() {
            shard.retain(|entry| entry.strong_count() > 0);
        }
        shard.push(Arc::downgrade(&entry));
        drop(shard);
        Place { entry, registry: Arc::clone(self) }
    }

    /// Enters a connection that [`Self::emptied`] is to wait for.
    pub fn carry(self: &Arc<Self>) -> Carrier {
        self.carriers.fetch_add(1, Ordering::AcqRel);
        Carrier { registry: Arc::clone(self) }
    }

    /// How many exchanges are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// Tells all that are open, and those that still come, that the process drains. It does so
    /// once: a second plan changes nothing.
    pub fn drain_all(&self, farewells: Farewells) {
        let _ = self.farewells.set(farewells);
        self.each(|entry| entry.waker.wake());
    }

    /// Tells all that are open now to end.
    pub fn end_all(&self) {
        self.each(|entry| entry.tell(ENDED));
    }

    /// Tells those with that request id to end; says whether there are any. Clients may choose
    /// their ids: those who share one share its fate, unless `number` says which one is meant.
    pub fn kill(&self, id: &str, number: Option<u64>) -> bool {
        let mut found = false;
        self.each(|entry| {
            let has_id = entry.stream.identity().is_some_and(|identity| *identity.id == *id);
            if has_id && number.is_none_or(|number| entry.number() == number) {
                entry.tell(KILLED);
                found = true;
            }
        });
        found
    }

    /// All that are open, the oldest first.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        let mut streams = Vec::new();
        self.each(|entry| streams.push(Arc::clone(&entry.stream)));
        streams.sort_unstable_by_key(|stream| stream.number());
        streams
    }

    /// What was, and is no more.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// How many have ever been entered.
    pub fn entered(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Whether the process drains.
    pub fn is_draining(&self) -> bool {
        self.farewells.get().is_some()
    }

    fn each(&self, mut tell: impl FnMut(&Entry)) {
        for shard in &self.shards {
            let entries: Vec<_> = lock(shard).iter().filter_map(Weak::upgrade).collect();
            entries.iter().for_each(|entry| tell(entry));
        }
    }

    /// Waits until no exchange is open, and no connection that carried any.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Enrolled before the look, so that no notice is lost between the two.
            emptied.as_mut().enable();
            if self.open() == 0 && self.carriers.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

fn lock(shard: &Mutex<Vec<Weak<Entry>>>) -> std::sync::MutexGuard<'_, Vec<Weak<Entry>>> {
    // A list of weak references cannot be left half-changed by a panic.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::live::past::tests::identity;

    #[test]
    fn places_are_given_back_and_swept() {
        let registry = Arc::new(Registry::default());
        let kept = enter(&registry);
        for _ in 0..10_000 {
            drop(enter(&registry));
        }
        assert_eq!(registry.open(), 1);
        let listed: usize = registry.shards.iter().map(|shard| lock(shard).len()).sum();
        assert!(listed < 200, "{listed} dead places are kept");
        registry.end_all();
        assert!(kept.entry().poll_ended(&mut Context::from_waker(std::task::Waker::noop())));
    }

    #[tokio::test]
    async fn emptied_wakes_after_the_last() {
        let registry = Arc::new(Registry::default());
        let place = enter(&registry);
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let carrier = registry.carry();
        drop(place);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the connection may still send");
        drop(carrier);
        waiting.await.unwrap();
    }

    #[test]
    fn whoever_comes_while_the_process_drains_is_told_so() {
        let registry = Arc::new(Registry::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let before = enter(&registry);
        assert_eq!(before.entry().poll_order(&mut cx), Order::RunOn);
        let farewells = plan(true);
        registry.drain_all(farewells);
        let after = enter(&registry);
        for place in [&before, &after] {
            assert_eq!(place.entry().poll_order(&mut cx), Order::Drain(farewells));
        }
        registry.end_all();
        for place in [before, after] {
            assert_eq!(place.entry().poll_order(&mut cx), Order::End { farewell: true });
        }
    }

    #[test]
    fn without_notice_nobody_is_told_before_the_end() {
        let registry = Arc::new(Registry::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let place = enter(&registry);
        registry.drain_all(plan(false));
        assert_eq!(place.entry().poll_order(&mut cx), Order::RunOn);
        registry.end_all();
        assert_eq!(place.entry().poll_order(&mut cx), Order::End { farewell: false });
    }

    #[test]
    fn those_with_the_id_are_killed_and_nobody_else() {
        let registry = Arc::new(Registry::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (one, other) = (enter(&registry), named(&registry, "2"));
        assert!(!registry.kill("3", None) && !registry.kill("2", Some(0)));
        assert!(registry.kill("2", Some(1)));
        assert_eq!(one.entry().poll_order(&mut cx), Order::RunOn);
        assert_eq!(other.entry().poll_order(&mut cx), Order::Kill);
        registry.end_all();
        assert_eq!(other.entry().poll_order(&mut cx), Order::End { farewell: true });
        assert_eq!(registry.streams().len(), 2);
        drop(other);
        assert_eq!(registry.streams().len(), 1);
        assert!(!registry.kill("2", None));
    }

    fn enter(registry: &Arc<Registry>) -> Place {
        named(registry, "1")
    }

    fn named(registry: &Arc<Registry>, id: &str) -> Place {
        registry.enter(Arc::new(Stream::new(clock::now())), identity(id))
    }

    fn plan(notify: bool) -> Farewells {
        let grace = Duration::from_secs(9);
        Farewells { began: clock::now(), grace, spread: grace / 3, notify }
    }
}
