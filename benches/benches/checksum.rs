//! The checksum at the lengths of hints, beside the crate that it stands in for.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hintstore_benches::Payloads;

fn checksum(criterion: &mut Criterion) {
    for length in [16, 64, 256, 400, 620, 1024, 4096] {
        let payloads = Payloads::new(length);
        let mut group = criterion.benchmark_group("checksum");
        group.throughput(Throughput::Bytes(length as u64));
        let mut number = 0;
        let mut next = || {
            number = (number + 1) % 512;
            payloads.get(number)
        };
        group.bench_function(BenchmarkId::new("crc32c", length), |bench| {
            bench.iter(|| crc32c::crc32c(next()));
        });
        group.bench_function(BenchmarkId::new("hintstore", length), |bench| {
            bench.iter(|| hintstore_checksum::append(0, next()));
        });
        group.finish();
    }
}

criterion_group!(benches, checksum);
criterion_main!(benches);
