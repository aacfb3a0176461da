//! What do the pure parts cost by themselves, that every event, frame and request goes through?
//!
//! The result would change how a scanner reads, and whether routes and endpoints need more than a
//! list. How little of an event's cost it is, `benches/compare` says.

mod balance;
mod route;
mod sse;
mod ws;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn short() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group!(
    name = micro;
    config = short();
    targets = sse::scan, ws::follow, route::find, balance::pick
);
criterion_main!(micro);

/// What one read may bring, in bytes.
const CHUNKS: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10];

/// Bytes of a stream.
const STREAM: usize = 1 << 20;

/// Some of this, as long as a stream.
fn stream(piece: &[u8]) -> Vec<u8> {
    piece.iter().copied().cycle().take(STREAM / piece.len() * piece.len()).collect()
}
