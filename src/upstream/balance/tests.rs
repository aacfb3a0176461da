use super::*;
use crate::clock;

use model::{Balance, HashKey};

fn of(id: u64, streams: usize, weight: f64) -> Candidate {
    Candidate { id, streams, weight }
}

fn equals(count: u64) -> Vec<Candidate> {
    (0..count).map(|id| of(id, 0, 1.0)).collect()
}

fn hash() -> Balancer {
    Balancer::new(&Balance::Hash(HashKey::Ip), 1)
}

/// Picks that many times, and counts for each candidate how often.
fn count(balancer: &mut Balancer, candidates: &[Candidate], picks: usize) -> Vec<usize> {
    let mut counts = vec![0; candidates.len()];
    for _ in 0..picks {
        counts[balancer.pick(candidates, None).unwrap()] += 1;
    }
    counts
}

/// Ids in the order of the picks.
fn order(balancer: &mut Balancer, candidates: &[Candidate], picks: usize) -> Vec<u64> {
    (0..picks).map(|_| candidates[balancer.pick(candidates, None).unwrap()].id).collect()
}

#[test]
fn nobody_is_picked_from_none_and_one_from_one() {
    let key = hash_key(b"conversation");
    for policy in [
        Balance::LeastStreams,
        Balance::RoundRobin,
        Balance::P2c,
        Balance::Random,
        Balance::Hash(HashKey::Ip),
    ] {
        let mut balancer = Balancer::new(&policy, 1);
        for key in [None, Some(key)] {
            assert_eq!(balancer.pick(&[], key), None, "{policy:?}");
            assert_eq!(balancer.pick(&[of(7, 1000, 0.1)], key), Some(0), "{policy:?}");
        }
    }
}

// === least_streams ===

#[test]
fn the_one_with_the_fewest_streams_is_next() {
    let mut balancer = Balancer::new(&Balance::LeastStreams, 1);
    for _ in 0..5 {
        assert_eq!(balancer.pick(&[of(1, 3, 1.0), of(2, 1, 1.0), of(3, 2, 1.0)], None), Some(1));
    }
}

#[test]
fn streams_fill_up_in_the_ratio_of_the_weights() {
    let mut balancer = Balancer::new(&Balance::LeastStreams, 1);
    let mut group = [of(1, 0, 1.0), of(2, 0, 2.0), of(3, 0, 5.0)];
    for _ in 0..80 {
        let index = balancer.pick(&group, None).unwrap();
        group[index].streams += 1;
    }
    assert_eq!(group.map(|candidate| candidate.streams), [10, 20, 50]);
}

#[test]
fn equals_take_turns() {
    let mut balancer = Balancer::new(&Balance::LeastStreams, 1);
    assert_eq!(order(&mut balancer, &equals(3), 6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn turns_survive_a_change_of_the_list() {
    let mut balancer = Balancer::new(&Balance::LeastStreams, 1);
    let (a, b, c, d) = (of(1, 0, 1.0), of(2, 0, 1.0), of(3, 0, 1.0), of(4, 0, 1.0));
    assert_eq!(order(&mut balancer, &[a, b, c], 2), [1, 2]);
    assert_eq!(order(&mut balancer, &[c, b, a], 1), [3], "the order of the list does not matter");
    assert_eq!(order(&mut balancer, &[b, c], 2), [2, 3], "one is left out");
    assert_eq!(order(&mut balancer, &[b, c, d, a], 4), [4, 1, 2, 3], "one is new, one is back");
    // Now {b, c} and {a, b} by turns, as when other exchanges come and go: c gets its turn as well.
    let mut picked = Vec::new();
    for _ in 0..3 {
        picked.extend(order(&mut balancer, &[b, c], 1));
        picked.extend(order(&mut balancer, &[a, b], 1));
    }
    assert!([1, 2, 3].iter().all(|id| picked.contains(id)), "{picked:?}");
}

// === p2c and random ===

#[test]
fn two_choices_never_take_the_fullest() {
    let mut balancer = Balancer::new(&Balance::P2c, 1);
    let counts = count(&mut balancer, &[of(1, 0, 1.0), of(2, 5, 1.0), of(3, 9, 1.0)], 3000);
    assert_eq!(counts[2], 0, "the fullest loses against any other");
    // Of the three pairs the first wins two.
    assert!((1900..2100).contains(&counts[0]), "{counts:?}");
    assert!((900..1100).contains(&counts[1]), "{counts:?}");
}

#[test]
fn two_choices_are_two() {
    let mut balancer = Balancer::new(&Balance::P2c, 1);
    let counts = count(&mut balancer, &[of(1, 1, 1000.0), of(2, 0, 1000.0)], 1000);
    assert_eq!(counts, [0, 1000], "a choice between one and itself would take the first at times");
}

#[test]
fn chance_goes_by_weight() {
    for policy in [Balance::Random, Balance::P2c] {
        let mut balancer = Balancer::new(&policy, 1);
        // Equally loaded, so that the first of two is taken.
        let group = [of(1, 0, 1.0), of(2, 2, 3.0), of(3, 5, 6.0)];
        let counts = count(&mut balancer, &group, 10_000);
        for (found, expected) in counts.iter().zip([1000, 3000, 6000]) {
            assert!(found.abs_diff(expected) < 200, "{policy:?}: {counts:?}");
        }
    }
}

#[test]
fn a_seed_decides_all() {
    let picks = |seed| order(&mut Balancer::new(&Balance::Random, seed), &equals(10), 20);
    assert_eq!(picks(5), picks(5));
    assert_ne!(picks(5), picks(6));
}

// === round_robin ===

#[test]
fn round_robin_is_smooth() {
    let mut balancer = Balancer::new(&Balance::RoundRobin, 1);
    let group = [of(1, 0, 5.0), of(2, 0, 1.0), of(3, 0, 1.0)];
    // The example of nginx's commit "Upstream: smooth weighted round-robin balancing".
    assert_eq!(order(&mut balancer, &group, 7), [1, 1, 2, 1, 3, 1, 1]);
    assert_eq!(order(&mut balancer, &group, 7), [1, 1, 2, 1, 3, 1, 1]);
}

#[test]
fn round_robin_survives_a_change_of_the_list() {
    let mut balancer = Balancer::new(&Balance::RoundRobin, 1);
    assert_eq!(order(&mut balancer, &equals(3), 1), [0]);
    let mut reversed = equals(3);
    reversed.reverse();
    let rest = order(&mut balancer, &reversed, 2);
    assert!(!rest.contains(&0), "it had its turn: {rest:?}");
}

// === hash ===

#[test]
fn a_key_finds_its_endpoint_again() {
    let keys: Vec<_> = (0..1000_u32).map(|n| hash_key(&n.to_le_bytes())).collect();
    let place = |group: &[Candidate], key| group[hash().pick(group, Some(key)).unwrap()].id;
    let all = equals(8);
    let mut reversed = all.clone();
    reversed.reverse();
    let without_3: Vec<_> = all.iter().copied().filter(|one| one.id != 3).collect();
    let mut heavy_3 = all.clone();
    heavy_3[3].weight = 2.0;
    let mut moved = 0;
    for key in keys {
        let home = place(&all, key);
        assert_eq!(place(&reversed, key), home, "the order of the list does not matter");
        if home == 3 {
            moved += 1;
            assert_eq!(place(&heavy_3, key), 3, "more weight takes nothing away");
        } else {
            assert_eq!(place(&without_3, key), home, "only the keys of the one that left move");
            assert!([home, 3].contains(&place(&heavy_3, key)), "more weight only attracts");
        }
    }
    assert!((90..160).contains(&moved), "an eighth of the keys moved: {moved}");
}

#[test]
fn replicas_agree_on_a_key() {
    // Fixed for ever: another answer would send every conversation elsewhere at an update.
    let group: Vec<_> = (0..8_u8).map(|n| of(hash_key(&[n]), 0, 1.0 + f64::from(n))).collect();
    let place = |text: &str| hash().pick(&group, Some(hash_key(text.as_bytes()))).unwrap();
    assert_eq!(["alice", "bob", "carol", "dave", "erin"].map(place), PLACES);
}

/// Computed by this code, and by another one written in Python.
const PLACES: [usize; 5] = [6, 5, 6, 3, 3];

#[test]
fn keys_spread_by_weight() {
    let group =
        [of(hash_key(b"a"), 0, 1.0), of(hash_key(b"b"), 0, 2.0), of(hash_key(b"c"), 0, 5.0)];
    let mut counts = [0_usize; 3];
    for n in 0..8000_u32 {
        counts[hash().pick(&group, Some(hash_key(&n.to_le_bytes()))).unwrap()] += 1;
    }
    for (found, expected) in counts.iter().zip([1000, 2000, 5000]) {
        assert!(found.abs_diff(expected) < 200, "{counts:?}");
    }
}

#[test]
fn one_key_does_not_drown_its_endpoint() {
    let key = Some(hash_key(b"everybody's favourite"));
    let mut balancer = hash();
    let mut group = [of(1, 0, 1.0), of(2, 0, 1.0), of(3, 0, 2.0), of(4, 0, 4.0)];
    for taken in 1..=800_u32 {
        let index = balancer.pick(&group, key).expect("somebody is always below his bound");
        group[index].streams += 1;
        let fair = f64::from(taken) * group[index].weight / 8.0;
        assert!(group[index].streams as f64 <= (1.25 * fair).ceil(), "{taken}: {group:?}");
    }
    let full = group.iter().filter(|one| one.streams as f64 == 125.0 * one.weight).count();
    assert!(full >= 2, "the favourites are filled up to their bounds: {group:?}");
}

#[test]
fn who_is_over_his_bound_is_passed_over_for_the_same_one() {
    let mut all = equals(8);
    let key = Some(hash_key(b"conversation"));
    let home = hash().pick(&all, key).unwrap();
    all[home].streams = 2;
    let next = hash().pick(&all, key).unwrap();
    assert_ne!(next, home);
    let others: Vec<_> = all.iter().copied().filter(|one| one.id != all[home].id).collect();
    assert_eq!(others[hash().pick(&others, key).unwrap()].id, all[next].id);
}

#[test]
fn without_a_key_the_fewest_streams_count() {
    let mut balancer = hash();
    assert_eq!(balancer.pick(&[of(1, 3, 1.0), of(2, 1, 1.0), of(3, 2, 1.0)], None), Some(1));
    assert_eq!(order(&mut balancer, &equals(3), 3), [0, 1, 2]);
}

// === eased ===

#[test]
fn a_newcomer_grows_from_a_tenth_to_its_full_weight() {
    let now = clock::now();
    let span = Some(Duration::from_secs(30));
    for (age, weight) in [(0, 20.0), (10, 80.0), (15, 110.0), (30, 200.0), (300, 200.0)] {
        let later = now + Duration::from_secs(age);
        let found = eased(200, Some(now), span, later);
        assert!((found - weight).abs() < 1e-9, "after {age} s: {found}");
    }
    assert_eq!(eased(200, None, span, now), 200.0, "it was there from the start");
    assert_eq!(eased(200, Some(now), None, now), 200.0, "slow start is off");
    assert_eq!(eased(200, Some(now), Some(Duration::ZERO), now), 200.0);
    let before = eased(200, Some(now + Duration::from_secs(1)), span, now);
    assert!((before - 20.0).abs() < 1e-9, "a clock that was read earlier: {before}");
}
