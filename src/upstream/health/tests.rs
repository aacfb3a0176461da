use super::*;
use crate::clock;

use Change::{Down, Up};

const RULES: model::PassiveHealth = model::PassiveHealth {
    failures: 3,
    eject_for: Duration::from_secs(10),
    max_eject_for: Duration::from_secs(60),
    max_ejected_percent: 50,
};

fn checks() -> model::ActiveHealth {
    model::ActiveHealth {
        path: "/health".into(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        expect_status: vec![(200, 299)],
        healthy_after: 2,
        unhealthy_after: 3,
    }
}

fn ejected(secs: u64) -> Option<Change> {
    Some(Change::Ejected { duration: Duration::from_secs(secs) })
}

/// An endpoint and a clock of its own.
struct Story {
    health: Health,
    start: Instant,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let now = clock::now();
        Self { health: Health::new(), start: now, now }
    }

    fn pass(&mut self, secs: u64) -> &mut Self {
        self.now += Duration::from_secs(secs);
        self
    }

    fn admits(&self) -> bool {
        self.health.admits(self.now)
    }

    /// Sends an exchange there, which is allowed.
    fn pick(&mut self) -> &mut Self {
        assert!(self.admits(), "{:?}", self.health);
        self.health.picked(self.now);
        self
    }

    fn succeed(&mut self) -> Option<Change> {
        self.health.succeeded(self.now)
    }

    fn fail(&mut self) -> Option<Change> {
        self.health.failed(&RULES, true, self.now)
    }

    fn check(&mut self, good: bool) -> Option<Change> {
        self.health.checked(good, &checks(), self.now)
    }

    /// Lets it be ejected from being up, and waits until that is over.
    fn eject(&mut self) -> Option<Change> {
        for _ in 0..3 {
            self.pick();
        }
        assert_eq!((self.fail(), self.fail()), (None, None));
        let change = self.fail();
        let Some(Change::Ejected { duration }) = change else { panic!("{change:?}") };
        self.now += duration;
        change
    }

    /// Lets it come back.
    fn recover(&mut self) {
        assert_eq!(self.pick().succeed(), Some(Up));
    }
}

// === Passive ===

#[test]
fn it_starts_up() {
    let story = Story::new();
    assert!(story.admits() && !story.health.is_ejected() && !story.health.avoided(story.now));
    assert_eq!((story.health.up_since(), story.health.returns_at()), (None, None));
}

#[test]
fn failures_in_a_row_eject() {
    let mut story = Story::new();
    for _ in 0..10 {
        story.pick();
    }
    assert_eq!((story.fail(), story.fail(), story.succeed()), (None, None, None));
    assert_eq!((story.fail(), story.fail()), (None, None), "a success between starts anew");
    assert!(story.admits());
    assert_eq!(story.fail(), ejected(10));
    assert!(!story.admits() && story.health.is_ejected());
    assert_eq!(story.health.returns_at(), Some(story.start + Duration::from_secs(10)));
    assert_eq!(story.fail(), None, "one ejection for all that were there");
    assert_eq!(story.succeed(), None, "it was sent before");
    assert!(!story.pass(9).admits());
    assert!(story.pass(1).admits());
}

#[test]
fn zero_failures_are_never() {
    let rules = model::PassiveHealth { failures: 0, ..RULES };
    let mut story = Story::new();
    for _ in 0..1000 {
        assert_eq!(story.health.failed(&rules, true, story.now), None);
    }
    assert!(story.admits());
}

#[test]
fn one_that_must_stay_is_ejected_as_soon_as_it_may() {
    let mut story = Story::new();
    for _ in 0..10 {
        assert_eq!(story.health.failed(&RULES, false, story.now), None);
        assert!(story.admits());
    }
    assert_eq!(story.fail(), ejected(10));
}

#[test]
fn on_trial_it_gets_one_exchange_at_a_time() {
    let mut story = Story::new();
    story.eject();
    story.pick();
    assert!(!story.admits(), "the one is under way");
    assert!(story.health.is_ejected(), "it has proved nothing yet");
    story.health.abandoned();
    story.pick();
    assert!(!story.pass(1000).admits(), "however long that takes");
    assert_eq!(story.succeed(), Some(Up));
    assert!(story.admits() && !story.health.is_ejected());
    assert_eq!(story.health.up_since(), Some(story.now));
    assert_eq!(story.pick().succeed(), None, "told once");
    assert_eq!((story.fail(), story.fail()), (None, None), "it begins with a clean slate");
}

#[test]
fn a_dead_one_costs_one_request_per_ejection() {
    let mut story = Story::new();
    assert_eq!(story.eject(), ejected(10));
    let lengths = [20, 40, 60, 60, 60];
    for length in lengths {
        assert_eq!(story.pick().fail(), ejected(length));
        assert!(!story.admits());
        assert!(!story.pass(length - 1).admits());
        story.pass(1);
    }
}

#[test]
fn a_trial_needs_no_leave_to_eject_again() {
    let mut story = Story::new();
    story.eject();
    story.pick();
    assert_eq!(story.health.failed(&RULES, false, story.now), ejected(20));
}

#[test]
fn being_up_pays_ejections_back() {
    // Out for 10, 20 and 40 s, then up for a while: how long is the next one?
    for (up, next) in [(0, 60), (39, 60), (40, 40), (59, 40), (60, 20), (70, 10), (100_000, 10)] {
        let mut story = Story::new();
        assert_eq!(story.eject(), ejected(10));
        assert_eq!(story.pick().fail(), ejected(20));
        assert_eq!(story.pass(20).pick().fail(), ejected(40));
        story.pass(40).recover();
        story.pass(up);
        assert_eq!(story.eject(), ejected(next), "after {up} s");
    }
}

#[test]
fn only_being_up_pays_back() {
    let mut story = Story::new();
    story.eject();
    story.pass(1000).recover();
    assert_eq!(story.eject(), ejected(20), "nobody wanted it for long, and it failed at once");
    story.recover();
    for _ in 0..3 {
        story.check(false);
    }
    story.pass(1000).check(true);
    assert_eq!(story.check(true), Some(Up));
    assert_eq!(story.eject(), ejected(40), "nor was it up while it was down");
    assert_eq!(story.pass(1000).pick().fail(), ejected(60), "nor while it was out");
}

#[test]
fn being_up_counts_whatever_ends_it() {
    let mut story = Story::new();
    story.eject();
    story.recover();
    story.pass(20).check(false);
    story.check(true);
    assert_eq!(story.check(true), Some(Up));
    assert_eq!(story.eject(), ejected(10));
}

#[test]
fn a_client_that_leaves_says_nothing() {
    let mut story = Story::new();
    for _ in 0..5 {
        story.pick();
    }
    assert_eq!((story.fail(), story.fail()), (None, None));
    story.health.abandoned();
    assert_eq!(story.fail(), ejected(10), "neither good nor bad");
    story.health.abandoned();
    assert!(!story.admits());
}

#[test]
fn one_that_cannot_be_reached_is_avoided_for_a_second() {
    let mut story = Story::new();
    story.health.connect_failed(story.now);
    assert!(story.health.avoided(story.now) && story.admits());
    story.now += Duration::from_millis(999);
    assert!(story.health.avoided(story.now));
    story.now += Duration::from_millis(1);
    assert!(!story.health.avoided(story.now));
    story.health.connect_failed(story.now);
    story.succeed();
    assert!(!story.health.avoided(story.now), "it was reached");
    story.health.connect_failed(story.now);
    story.check(true);
    assert!(!story.health.avoided(story.now), "it was reached by a check");
}

// === Active ===

#[test]
fn the_first_check_decides_at_once() {
    let mut story = Story::new();
    assert_eq!(story.check(true), None, "it was up");
    let mut story = Story::new();
    assert_eq!(story.check(false), Some(Down));
    assert!(!story.admits());
}

#[test]
fn checks_in_a_row_decide() {
    let mut story = Story::new();
    let answers = [
        (true, None),
        (false, None),
        (false, None),
        (true, None),
        (false, None),
        (false, None),
        (false, Some(Down)),
        (false, None),
        (true, None),
        (false, None),
        (true, None),
        (true, Some(Up)),
        (true, None),
    ];
    let mut is_up = true;
    for (index, (good, change)) in answers.into_iter().enumerate() {
        assert_eq!(story.pass(5).check(good), change, "answer {index}");
        is_up = change.map_or(is_up, |change| change == Up);
        assert_eq!(story.admits(), is_up, "answer {index}");
        if change == Some(Up) {
            assert_eq!(story.health.up_since(), Some(story.now));
        }
    }
}

#[test]
fn exchanges_do_not_bring_back_what_checks_took_out() {
    let mut story = Story::new();
    story.pick().check(false);
    assert_eq!((story.succeed(), story.fail()), (None, None));
    story.health.picked(story.now);
    assert!(!story.pass(1000).admits());
    assert!(!story.health.is_ejected(), "it leaves room for ejections");
}

#[test]
fn good_checks_end_an_ejection_with_a_trial() {
    let mut story = Story::new();
    for _ in 0..100 {
        story.check(true);
    }
    for _ in 0..3 {
        story.pick();
    }
    for _ in 0..3 {
        story.fail();
    }
    assert_eq!(story.check(true), None);
    assert!(!story.admits(), "what checks said before the ejection does not count");
    assert_eq!(story.check(true), None);
    assert_eq!(story.health.returns_at(), None);
    story.pick();
    assert!(!story.admits(), "its engine may be dead behind its health page");
    assert_eq!(story.fail(), ejected(20));
    assert_eq!((story.check(true), story.check(true)), (None, None));
    story.recover();
}

#[test]
fn bad_checks_overrule_everything() {
    let mut story = Story::new();
    assert_eq!((story.check(true), story.check(false)), (None, None));
    story.eject();
    assert_eq!(story.check(false), None);
    assert_eq!(story.check(false), Some(Down), "the bad ones before the ejection do count");
    assert_eq!((story.check(true), story.check(true)), (None, Some(Up)), "no trial: checks knew");

    let mut story = Story::new();
    story.eject();
    story.pick().check(true);
    for change in [None, None, Some(Down)] {
        assert_eq!(story.check(false), change);
    }
    assert_eq!(story.succeed(), None, "its trial is over");
    assert!(!story.admits());
}

#[test]
fn coming_back_is_a_clean_slate() {
    let mut story = Story::new();
    assert_eq!((story.fail(), story.fail(), story.check(false)), (None, None, Some(Down)));
    assert_eq!((story.check(true), story.check(true)), (None, Some(Up)));
    assert_eq!((story.fail(), story.fail()), (None, None));
}

// === may_eject ===

#[test]
fn no_more_than_the_share_is_ejected() {
    for (ejected, total, percent, may) in [
        (0, 1, 50, false),
        (0, 2, 50, true),
        (1, 2, 50, false),
        (0, 3, 50, true),
        (1, 3, 50, false),
        (1, 4, 50, true),
        (2, 4, 50, false),
        (0, 3, 33, false),
        (0, 3, 34, true),
        (0, 1, 100, true),
        (9, 10, 100, true),
        (10, 10, 100, false),
        (0, 10, 0, false),
        (0, 0, 100, false),
        (usize::MAX, usize::MAX, u32::MAX, true),
    ] {
        assert_eq!(may_eject(ejected, total, percent), may, "{ejected} of {total}, {percent} %");
    }
}
