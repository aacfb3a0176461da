//! Which endpoint takes a request.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use longwire::config::model::{Balance, HashKey};
use longwire::upstream::balance::{Balancer, Candidate, hash_key};

const POLICIES: [(&str, Balance); 5] = [
    ("least_streams", Balance::LeastStreams),
    ("round_robin", Balance::RoundRobin),
    ("p2c", Balance::P2c),
    ("random", Balance::Random),
    ("hash", Balance::Hash(HashKey::Ip)),
];

/// As busy as one another, nearly.
fn endpoints(count: u64) -> Vec<Candidate> {
    let endpoint = |n: u64| Candidate {
        id: hash_key(&n.to_le_bytes()),
        streams: 20 + n as usize * 7 % 5,
        weight: 1.0,
    };
    (0..count).map(endpoint).collect()
}

pub fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balance pick");
    for count in [4, 64] {
        let endpoints = endpoints(count);
        for (name, policy) in &POLICIES {
            let mut balancer = Balancer::new(policy, 1);
            // All keys differ, as clients do.
            let mut client = 0_u64;
            group.bench_function(BenchmarkId::new(*name, count), |bencher| {
                bencher.iter(|| {
                    client += 1;
                    let key = hash_key(&client.to_le_bytes());
                    balancer.pick(black_box(&endpoints), Some(key)).expect("there are some")
                });
            });
        }
    }
    group.finish();
}
