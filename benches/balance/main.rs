//! Which policy spreads chat streams evenly, and which finds a conversation's endpoint again?
//!
//! Simulates hours of conversations at a group of endpoints with the product's own balancer and
//! prints the tables of `docs/balance.md`. The same seeds give the same tables.
//!
//! What would change a decision: `least_streams` is the default because its fullest endpoint is the
//! least full in every column; `hash` is bounded because what the bound costs in conversations that
//! are not found again is little where there is load.

#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

use std::time::Duration;

use longwire::config::model::{Balance, HashKey};
use longwire::upstream::balance::{Balancer, Candidate, hash_key};

mod simulation;
mod traffic;

use simulation::{Case, Outcome};

const POLICIES: [(&str, Balance); 5] = [
    ("least_streams", Balance::LeastStreams),
    ("p2c", Balance::P2c),
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    ("hash", Balance::Hash(HashKey::Ip)),
];

/// Eight equal endpoints with twenty streams each, on average.
const USUAL: Case = Case {
    weights: &[1, 1, 1, 1, 1, 1, 1, 1],
    streams_each: 20.0,
    slow: false,
    late: false,
    slow_start: None,
    measured: Duration::from_secs(4 * 3600),
    seed: 1,
};

fn main() {
    println!("{}", traffic::describe());
    evenness();
    newcomer();
    conversations();
    moved_keys();
}

/// The head of a table.
fn head(title: &str, columns: &[&str]) {
    println!("\n## {title}\n");
    println!("| {} |", columns.join(" | "));
    println!("{}|", "|---".repeat(columns.len()));
}

fn evenness() {
    let cases = [
        USUAL,
        Case { weights: &[1, 1, 1, 1, 2, 2, 4, 4], ..USUAL },
        Case { slow: true, ..USUAL },
        Case { streams_each: 2.0, ..USUAL },
    ];
    let columns = [
        "policy",
        "8 equal",
        "weights 1 1 1 1 2 2 4 4",
        "one is 4 times slower",
        "2 streams each, not 20",
    ];
    head("Streams at the fullest endpoint over its fair share: mean, p99 over time", &columns);
    let mut all = Vec::new();
    for (name, policy) in &POLICIES {
        let outcomes = cases.map(|case| simulation::run(policy, &case));
        let cells = outcomes.each_ref().map(|o| format!("{:.2}, {:.2}", o.mean(), o.p99()));
        println!("| {name} | {} |", cells.join(" | "));
        all.push((name, outcomes));
    }
    head("Share of picks: the furthest that one endpoint is from its weight's", &columns);
    for (name, outcomes) in all {
        let cells = outcomes.map(|outcome| format!("{:.1} %", 100.0 * outcome.share_error()));
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn newcomer() {
    let title = "One of eight joins when the others are busy: its picks in the first 10 s over its \
                 fair share, by `slow_start`";
    head(title, &["policy", "off", "30 s", "5 min"]);
    for (name, policy) in &POLICIES {
        let cells = [None, Some(30), Some(300)].map(|secs| {
            // A few seconds tell little, so there are many of them.
            let runs = (1..=10).map(|seed| {
                let slow_start = secs.map(Duration::from_secs);
                let measured = Duration::from_secs(10);
                simulation::run(policy, &Case { late: true, slow_start, measured, seed, ..USUAL })
            });
            let (all, own) = runs.fold((0, 0), |(all, own), outcome| {
                (all + outcome.while_new, own + outcome.newcomer)
            });
            format!("{:.2}", own as f64 * USUAL.weights.len() as f64 / all as f64)
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn conversations() {
    let title = "A conversation's next turn finds the endpoint of the one before, by streams open \
                 at each";
    head(title, &["policy", "2", "5", "20", "100"]);
    for (name, policy) in &POLICIES {
        let cells = [2.0, 5.0, 20.0, 100.0].map(|streams_each| {
            let case = Case { streams_each, measured: Duration::from_secs(900), ..USUAL };
            let Outcome { again, turns, .. } = simulation::run(policy, &case);
            format!("{:.0} %", 100.0 * again as f64 / turns as f64)
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn moved_keys() {
    const KEYS: u64 = 20_000;
    let title = "`hash`: conversations that move when one of N idle endpoints leaves or joins, over \
                 those that must";
    head(title, &["N", "leaves", "joins"]);
    for count in [2_usize, 4, 8, 16, 32] {
        // Places of all keys with that many endpoints.
        let places = |count: usize| -> Vec<u64> {
            let group: Vec<_> = (0..count).map(|number| endpoint(number, 1.0)).collect();
            let mut balancer = Balancer::new(&Balance::Hash(HashKey::Ip), 0);
            let mut place = |key: u64| {
                let picked = balancer.pick(&group, Some(hash_key(&key.to_le_bytes())));
                group[picked.expect("the group is not empty")].id
            };
            (0..KEYS).map(&mut place).collect()
        };
        let [fewer, now, more] = [count - 1, count, count + 1].map(places);
        let moved = |other: &[u64]| now.iter().zip(other).filter(|(a, b)| a != b).count() as f64;
        // An endpoint's keys, of all that there are.
        let share = |count: usize| KEYS as f64 / count as f64;
        let (leaves, joins) = (moved(&fewer) / share(count), moved(&more) / share(count + 1));
        println!("| {count} | {leaves:.2} | {joins:.2} |");
    }
}

/// An idle endpoint.
fn endpoint(number: usize, weight: f64) -> Candidate {
    let address = format!("10.0.0.{number}:8000");
    Candidate { id: hash_key(address.as_bytes()), streams: 0, weight }
}
