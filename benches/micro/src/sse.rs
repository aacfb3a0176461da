//! The scanner that every event stream goes through, in bytes a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use longwire::sse::dialect::Dialects;
use longwire::sse::scanner::Scanner;

use crate::{CHUNKS, stream};

/// What a model sends for a token or two.
const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-7f3a9c","object":"chat.completion.chunk","created":1760000000,"#,
    r#""model":"llama-3.3-70b","choices":[{"index":0,"delta":{"content":" hello"},"#,
    r#""logprobs":null,"finish_reason":null}]}"#,
    "\n\n"
);

pub fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sse scan");
    let stream = stream(EVENT.as_bytes());
    let events = stream.len() / EVENT.len();
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for size in CHUNKS {
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, &size| {
            bencher.iter(|| {
                let mut scanner = Scanner::new(Dialects { setting: None, hint: None });
                let found: u32 = stream.chunks(size).map(|c| scanner.scan(black_box(c))).sum();
                assert_eq!(found as usize, events);
            });
        });
    }
    group.finish();
}
