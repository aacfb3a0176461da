//! Many clients, many threads, one promise.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::gcra::tests::{Numbers, rate};
use super::*;
use crate::clock;

const SECOND: u64 = 1_000_000_000;

#[test]
fn many_threads_get_exactly_what_the_model_gives() {
    let (interval, burst) = (SECOND / 10, 25);
    let (began, threads) = (clock::now(), 8);
    let rates = Rates::new(&rate(interval, burst), began);
    let model = rates.gcra();
    let mut full_at = 0;
    for seed in 1..=40 {
        // All ask at the same moment, far more often than they may.
        let at = Numbers(seed).below(3 * SECOND) + seed * 3 * SECOND;
        let now = began + Duration::from_nanos(at);
        let (passed, start) = (AtomicUsize::new(0), Barrier::new(threads));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..50 {
                        let verdict = rates.ask(&"one", now);
                        passed.fetch_add(verdict.refused_for.is_none().into(), Ordering::Relaxed);
                    }
                });
            }
        });
        let mut passes = || model.ask(&mut full_at, at).refused_for.is_none();
        let expected = (0..threads * 50).filter(|_| passes()).count();
        assert_eq!(passed.into_inner(), expected, "seed {seed}");
    }
    assert_eq!(rates.len(), 1);
}

#[test]
fn clients_do_not_share() {
    let began = clock::now();
    let rates = Rates::new(&rate(SECOND, 2), began);
    for client in 0..1000 {
        for asked in 0..3 {
            let passes = rates.ask(&client, began).refused_for.is_none();
            assert_eq!(passes, asked < 2, "client {client}, request {asked}");
        }
    }
    assert_eq!(rates.len(), 1000);
}

#[test]
fn those_who_have_their_whole_burst_are_forgotten() {
    let began = clock::now();
    let rates = Rates::new(&rate(SECOND, 2), began);
    for client in 0..200_000_u64 {
        // One a millisecond: a thousand of them matter at any time.
        rates.ask(&client, began + Duration::from_millis(client));
    }
    assert!(rates.len() < 5000, "{} are remembered", rates.len());
}

#[test]
fn a_full_shard_is_looked_through_once_for_many_who_come() {
    let most = KEYS_MAX / SHARDS;
    for free in [0, 1, 100, FORGOTTEN_AT_ONCE - 1, FORGOTTEN_AT_ONCE, most - 1, most] {
        // Some have their whole burst again at 10, the others never.
        let full_at = |key| if key < free { 10 } else { 1000 + key as u64 };
        let full_at = (0..most).map(|key| (key as u64, full_at(key))).collect();
        let mut shard = Shard { full_at, sweep_at: most };
        shard.make_room(10);
        let (left, kept) = (shard.full_at.len(), most - free.max(FORGOTTEN_AT_ONCE));
        assert_eq!(left, kept, "of {free} who may go");
        let room = shard.sweep_at - left;
        assert!(room >= FORGOTTEN_AT_ONCE || left < FORGOTTEN_AT_ONCE, "{room} at {left}");
        let greediest = (most - 1) as u64;
        assert_eq!(shard.full_at.contains_key(&greediest), free < most, "of {free} who may go");
    }
}

#[test]
fn the_number_of_clients_is_bounded_and_the_greediest_are_remembered() {
    let began = clock::now();
    let rates = Rates::new(&rate(SECOND, 100), began);
    for _ in 0..100 {
        assert!(rates.ask(&"greedy", began).refused_for.is_none());
    }
    for client in 0..3 * KEYS_MAX as u64 {
        rates.ask(&client, began);
        if client % 10_000 == 0 {
            assert!(rates.len() <= KEYS_MAX, "{}", rates.len());
        }
    }
    assert!((KEYS_MAX / 2..=KEYS_MAX).contains(&rates.len()), "{}", rates.len());
    assert!(rates.ask(&"greedy", began).refused_for.is_some(), "it would be let in again");
}
