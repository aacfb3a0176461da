//! The tracker that every WebSocket goes through, in bytes a second: its frames are short.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use longwire::ws::tracker::{Item, Rules, Tracker};

use crate::{CHUNKS, stream};

/// Bytes of payload in a frame.
const PAYLOAD: u16 = 300;

/// A text frame of a server (RFC 6455, 5.2): 126 says that two bytes of length follow.
fn frame() -> Vec<u8> {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&PAYLOAD.to_be_bytes());
    frame.resize(frame.len() + usize::from(PAYLOAD), b'x');
    frame
}

const RULES: Rules = Rules { masked: false, max_frame: 1 << 20, rsv1: false, rsv23: false };

pub fn follow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ws follow");
    let stream = stream(&frame());
    let frames = stream.len() / frame().len();
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for size in CHUNKS {
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, &size| {
            bencher.iter(|| {
                let mut tracker = Tracker::new(RULES);
                let found: usize = stream.chunks(size).map(|c| read(&mut tracker, c)).sum();
                assert_eq!(found, frames);
            });
        });
    }
    group.finish();
}

/// Frames that begin in these bytes.
fn read(tracker: &mut Tracker, mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    loop {
        match tracker.next(&mut bytes, None).expect("the frames are legal") {
            Item::Frame { .. } => frames += 1,
            Item::More => return frames,
            item => drop(black_box(item)),
        }
    }
}
