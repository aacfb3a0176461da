use super::*;
use crate::clock;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 60 * 60)
}

/// What is known after closes of that age (second number) at that time (first), in milliseconds.
fn after(closes: &[(u64, u64)]) -> (Learned, Instant) {
    let start = clock::now();
    let mut learned = Learned::new();
    let mut now = start;
    for (at, idle) in closes {
        now = start + ms(*at);
        learned.closed(ms(*idle), now);
    }
    (learned, now)
}

fn shortest(closes: &[(u64, u64)]) -> Option<Duration> {
    let (learned, now) = after(closes);
    let found = learned.shortest(now);
    assert_eq!(learned.shortest(now + ms(500)), found, "it does not change by itself");
    found
}

#[test]
fn two_closes_at_the_same_age_are_a_timeout() {
    assert_eq!(shortest(&[]), None);
    assert_eq!(shortest(&[(0, 5_003)]), None);
    assert_eq!(shortest(&[(0, 5_003), (9_000, 5_001)]), Some(ms(5_001)));
}

#[test]
fn uvicorn_and_node_are_understood() {
    for (closes, idle, limit) in [
        // As measured, uvicorn 0.54.0.
        ([(0, 5_001), (7_000, 5_002)], 5_001, 4_500),
        // As measured, Node 20.20.2: a second later than it announces.
        ([(0, 6_003), (7_000, 6_001)], 6_001, 5_400),
        // One that is late by up to that second, as timers of a busy process are: not sure enough.
        ([(0, 5_900), (7_000, 5_020)], 0, 0),
        ([(0, 5_250), (7_000, 5_020)], 5_020, 4_518),
    ] {
        let (learned, now) = after(&closes);
        let expect = |millis: u64| (millis > 0).then(|| ms(millis));
        assert_eq!(learned.shortest(now), expect(idle));
        let found = learned.limit(now);
        let close = |found: Duration| found.abs_diff(ms(limit)) <= ms(1);
        assert!(found.map_or(limit == 0, close), "{found:?} instead of {limit} ms");
    }
}

#[test]
fn a_restart_teaches_nothing() {
    // Five connections of different ages, twice the same.
    let restart =
        |at| [(at, 3), (at + 1, 700), (at + 2, 4_000), (at + 3, 4_001), (at + 99, 30_000)];
    let closes: Vec<_> = [restart(0), restart(60_000)].concat();
    assert_eq!(shortest(&closes), None);
    assert_eq!(shortest(&[(0, 4_000), (1, 4_010), (2, 4_020)]), None, "equal ages, in one moment");
    assert_eq!(shortest(&[(0, 4_000), (150, 4_010), (900, 4_020)]), None, "told slowly");
}

#[test]
fn a_restart_takes_back_what_its_first_close_seemed_to_prove() {
    let closes = [(0, 5_000), (9_000, 5_001), (9_001, 800)];
    assert_eq!(shortest(&closes[..2]), Some(ms(5_000)));
    assert_eq!(shortest(&closes), None);
    assert_eq!(shortest(&[&closes[..], &[(20_000, 5_002)]].concat()), Some(ms(5_000)));
}

#[test]
fn closes_of_one_age_in_one_moment_are_one_event() {
    // A wave of requests, whose connections time out together; then another.
    let mut closes: Vec<_> = (0..50).map(|n| (n, 5_000 + n)).collect();
    assert_eq!(shortest(&closes), None);
    closes.extend((0..50).map(|n| (6_000 + n, 5_002 + n)));
    assert_eq!(shortest(&closes), Some(ms(5_000)));
}

#[test]
fn closes_without_a_pause_are_understood() {
    let closes: Vec<_> = (0..200).map(|n| (n * 20, 5_000 + n % 7)).collect();
    assert_eq!(shortest(&closes), Some(ms(5_000)));
}

#[test]
fn ages_that_do_not_agree_in_a_row_teach_nothing() {
    assert_eq!(shortest(&[(0, 5_000), (9_000, 5_320)]), None, "more than 5 % and 50 ms");
    assert_eq!(shortest(&[(0, 5_000), (9_000, 5_310)]), Some(ms(5_000)));
    assert_eq!(shortest(&[(0, 5_000), (9_000, 2_000), (20_000, 5_000)]), None);
}

#[test]
fn no_age_under_half_a_second_is_believed() {
    assert_eq!(shortest(&[(0, 499), (9_000, 499), (20_000, 499)]), None);
    assert_eq!(shortest(&[(0, 500), (9_000, 500)]), Some(ms(500)));
}

#[test]
fn the_limit_leaves_time_for_the_way_there() {
    for (idle, limit) in [(500, 250), (600, 350), (2_500, 2_250), (5_000, 4_500), (60_000, 54_000)]
    {
        let (learned, now) = after(&[(0, idle), (9_000, idle)]);
        assert_eq!(learned.limit(now), Some(ms(limit)));
    }
}

#[test]
fn keeping_to_the_limit_is_no_proof_of_anything() {
    // A connection that was idle up to the limit when a restart came must not confirm the fact.
    for idle in [500, 1_000, 2_499, 2_500, 5_000, 60_000, 3_600_000] {
        let (learned, now) = after(&[(0, idle), (9_000, idle)]);
        assert!(!agree(learned.limit(now).unwrap(), ms(idle)), "{idle} ms");
    }
}

#[test]
fn the_shorter_one_counts() {
    let both = [(0, 60_000), (70_000, 60_000), (80_000, 5_000), (90_000, 5_000)];
    assert_eq!(shortest(&both), Some(ms(5_000)));
    let reversed = [(0, 5_000), (9_000, 5_000), (80_000, 60_000), (150_000, 60_000)];
    assert_eq!(shortest(&reversed), Some(ms(5_000)));
    assert_eq!(shortest(&[&reversed[..2], &[(12_000, 4_980)]].concat()), Some(ms(4_980)));
}

#[test]
fn what_was_learned_lapses_and_one_close_brings_it_back_for_longer() {
    let (mut learned, mut now) = after(&[(0, 5_000), (9_000, 5_000)]);
    for holds in [1, 2, 4, 8, 16, 24, 24] {
        assert_eq!(learned.shortest(now + hours(holds) - ms(1)), Some(ms(5_000)), "{holds} h");
        now += hours(holds);
        assert_eq!((learned.shortest(now), learned.limit(now)), (None, None), "{holds} h");
        learned.closed(ms(5_001), now);
        assert_eq!(learned.shortest(now), Some(ms(5_000)));
    }
}

#[test]
fn a_close_that_is_seen_while_it_holds_confirms_it() {
    let (mut learned, now) = after(&[(0, 5_000), (9_000, 5_000)]);
    let later = now + ms(50 * 60 * 1000);
    learned.closed(ms(5_000), later);
    assert!(learned.shortest(later + hours(1) - ms(1)).is_some());
    assert!(learned.shortest(later + hours(1)).is_none(), "but not for longer: it was no test");
}

#[test]
fn a_new_setting_is_learned_after_the_old_one_lapsed() {
    let (mut learned, mut now) = after(&[(0, 5_000), (9_000, 5_000)]);
    now += hours(1);
    learned.closed(ms(75_000), now);
    assert_eq!(learned.shortest(now), None);
    now += ms(80_000);
    learned.closed(ms(75_000), now);
    assert_eq!(learned.shortest(now), Some(ms(75_000)));
    assert_eq!(learned.shortest(now + hours(1)), None, "a new fact begins anew");
}

#[test]
fn what_was_closed_sooner_than_anybody_does_makes_suspicious_for_a_while() {
    let (mut learned, now) = after(&[(0, 5_000), (9_000, 5_000)]);
    let now = now + ms(1_000);
    assert_eq!(learned.suspicious(now), ms(400), "nobody is in a hurry");
    learned.closed(ms(100), now);
    learned.closed(ms(120), now + ms(20));
    assert_eq!(learned.suspicious(now + ms(20)), ms(50));
    assert_eq!(learned.suspicious(now + ms(10_019)), ms(50));
    assert_eq!(learned.suspicious(now + ms(10_020)), ms(400), "it was a restart");
    assert_eq!(learned.shortest(now), Some(ms(5_000)), "and is believed as little as before");
}
