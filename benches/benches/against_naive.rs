//! Append and replay beside a naive log, in one run.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench that fails stops, and it is what measures time"
)]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hintstore_benches::{Folder, Naive, Payloads, append, naive_replay, open, replay};

const BYTES: usize = 256 << 20;

fn repeat(times: u64, mut once: impl FnMut() -> Duration) -> Duration {
    (0..times).map(|_| once()).sum()
}

fn against_naive(criterion: &mut Criterion) {
    for length in [256, 1024] {
        let payloads = Payloads::new(length);
        let count = BYTES / length;
        let mut group = criterion.benchmark_group(format!("append/{length}B"));
        group
            .throughput(Throughput::Bytes(BYTES as u64))
            .sample_size(10);
        group.bench_function("naive", |bench| {
            bench.iter_custom(|times| {
                repeat(times, || {
                    let folder = Folder::new("naive").unwrap();
                    let naive = Naive::create(&folder.path().join("log")).unwrap();
                    let start = Instant::now();
                    for number in 0..count {
                        naive.append(payloads.get(number)).unwrap();
                    }
                    naive.flush().unwrap();
                    start.elapsed()
                })
            });
        });
        group.bench_function("hintstore", |bench| {
            bench.iter_custom(|times| {
                repeat(times, || {
                    let folder = Folder::new("store").unwrap();
                    let store = open(folder.path()).unwrap();
                    let start = Instant::now();
                    append(&store, &payloads, count).unwrap();
                    start.elapsed()
                })
            });
        });
        group.finish();

        let mut group = criterion.benchmark_group(format!("replay/{length}B"));
        group
            .throughput(Throughput::Bytes(BYTES as u64))
            .sample_size(10);
        group.bench_function("naive", |bench| {
            let folder = Folder::new("naive").unwrap();
            let path = folder.path().join("log");
            let naive = Naive::create(&path).unwrap();
            for number in 0..count {
                naive.append(payloads.get(number)).unwrap();
            }
            naive.flush().unwrap();
            bench.iter_custom(|times| {
                repeat(times, || {
                    let start = Instant::now();
                    assert_eq!(naive_replay(&path).unwrap(), count);
                    start.elapsed()
                })
            });
        });
        group.bench_function("hintstore", |bench| {
            bench.iter_custom(|times| {
                repeat(times, || {
                    let folder = Folder::new("store").unwrap();
                    let store = open(folder.path()).unwrap();
                    append(&store, &payloads, count).unwrap();
                    store.close().unwrap();
                    let store = open(folder.path()).unwrap();
                    let start = Instant::now();
                    assert_eq!(replay(&store).unwrap(), count);
                    start.elapsed()
                })
            });
        });
        group.finish();
    }
}

criterion_group!(benches, against_naive);
criterion_main!(benches);
