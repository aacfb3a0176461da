use super::*;

/// Everybody, in the order in which they would be taken.
fn drain<T>(queue: &mut Queue<T>) -> Vec<T> {
    std::iter::from_fn(|| queue.take(|_| true)).collect()
}

#[test]
fn one_waiter_each_is_a_plain_queue() {
    let mut queue = Queue::new();
    for n in 0..100 {
        queue.push(n * 7_919 % 101, n);
    }
    assert_eq!(queue.len(), 100);
    assert_eq!(drain(&mut queue), (0..100).collect::<Vec<_>>());
    assert!(queue.is_empty());
}

#[test]
fn one_principal_alone_is_a_plain_queue() {
    let mut queue = Queue::new();
    for n in 0..100 {
        queue.push(5, n);
    }
    assert_eq!(drain(&mut queue), (0..100).collect::<Vec<_>>());
}

#[test]
fn principals_take_turns() {
    let mut queue = Queue::new();
    for waiter in ["a1", "a2", "a3", "b1", "c1", "c2"] {
        queue.push(u64::from(waiter.as_bytes()[0]), waiter);
    }
    assert_eq!(drain(&mut queue), ["a1", "b1", "c1", "a2", "c2", "a3"]);
}

#[test]
fn a_greedy_principal_delays_another_ones_first_by_one_place_only() {
    // However many places have been given already, wherever the turn stands.
    for taken in 0..5 {
        let mut queue = Queue::new();
        for _ in 0..1000 {
            queue.push(1, "greedy");
        }
        for _ in 0..taken {
            queue.take(|_| true);
        }
        queue.push(2, "modest");
        let order = drain(&mut queue);
        assert!(order.iter().position(|waiter| *waiter == "modest").unwrap() <= 1);
    }
}

#[test]
fn with_n_principals_nobodys_first_waits_for_more_than_the_others_one_each() {
    let mut queue = Queue::new();
    for n in 0..10_000 {
        queue.push(n % 100, n % 100);
    }
    for _ in 0..777 {
        queue.take(|_| true);
    }
    queue.push(500, 500);
    assert!(drain(&mut queue).iter().position(|waiter| *waiter == 500).unwrap() <= 100);
}

#[test]
fn leaving_and_coming_again_gains_nothing() {
    let mut queue = Queue::new();
    for _ in 0..10 {
        queue.push(1, "stays");
    }
    let mut order = Vec::new();
    queue.push(2, "comes");
    for _ in 0..10 {
        let taken = queue.take(|_| true).unwrap();
        order.push(taken);
        if taken == "comes" {
            queue.push(2, "comes");
        }
    }
    assert_eq!(order.iter().filter(|waiter| **waiter == "comes").count(), 5, "{order:?}");
}

#[test]
fn those_who_leave_free_their_place() {
    let mut queue = Queue::new();
    let tickets: Vec<_> = ["a1", "a2", "a3", "b1"]
        .iter()
        .map(|waiter| queue.push(u64::from(waiter.as_bytes()[0]), *waiter))
        .collect();
    assert_eq!(queue.remove(tickets[1]), Some("a2"));
    assert_eq!(queue.remove(tickets[1]), None, "it has left");
    assert_eq!(queue.remove(tickets[3]), Some("b1"), "with its principal");
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.take(|_| true), Some("a1"));
    assert_eq!(queue.remove(tickets[0]), None, "it was taken");
    assert_eq!(queue.remove(tickets[2]), Some("a3"));
    assert_eq!(queue.remove(tickets[2]), None, "its principal has left");
    assert!(queue.is_empty());
    let other = queue.push(u64::from(b'a'), "a4");
    assert!(!tickets.contains(&other), "a ticket is never given twice");
}

#[test]
fn who_leaves_and_comes_again_stands_at_the_back_of_the_turn() {
    let mut queue = Queue::new();
    let left = queue.push(1, "a1");
    queue.push(2, "b1");
    queue.remove(left);
    queue.push(1, "a2");
    assert_eq!(drain(&mut queue), ["b1", "a2"]);
}

#[test]
fn those_that_do_not_accept_keep_their_places() {
    let mut queue = Queue::new();
    for waiter in ["a1", "a2", "b1", "b2", "c1"] {
        queue.push(u64::from(waiter.as_bytes()[0]), waiter);
    }
    assert_eq!(queue.take(|waiter| *waiter == "b2"), Some("b2"), "not even its principal's first");
    assert_eq!(queue.take(|_| false), None);
    assert_eq!(queue.len(), 4);
    assert_eq!(drain(&mut queue), ["a1", "c1", "b1", "a2"], "only its principal went to the back");
}

#[test]
fn nobody_is_asked_twice_or_after_the_first_that_accepts() {
    let mut queue = Queue::new();
    for n in 0..100 {
        queue.push(n % 10, n);
    }
    let mut asked = 0;
    queue.take(|_| {
        asked += 1;
        false
    });
    assert_eq!(asked, 100);
    asked = 0;
    queue.take(|_| {
        asked += 1;
        true
    });
    assert_eq!(asked, 1);
}
