//! The directory of a segment and a hash map behind a mutex, in one process.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hashbrown::HashMap;
use shmem_core::Segment;
use std::hint::black_box;
use std::sync::Mutex;

const SIZES: [usize; 3] = [10, 10_000, 100_000];
const ONE_MORE: &str = "one more object";

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("object_{i:08}")).collect()
}

/// Steps through `0..n` in an order that no cache foresees: 7919 is prime, and no factor of a size.
fn next(at: &mut usize, n: usize) -> usize {
    *at = (*at + 7919) % n;
    *at
}

fn directory(c: &mut Criterion) {
    for n in SIZES {
        let all = names(n);
        let segment = Segment::anonymous().size(128 << 20).commit_all(true).create().expect("a segment");
        for (i, name) in (0u64..).zip(&all) {
            segment.construct::<u64>(name, i).expect("a root");
        }
        let map: Mutex<HashMap<String, u64>> = Mutex::new(all.iter().cloned().zip(0..).collect());
        let lock = || map.lock().expect("nobody panicked");
        let mut at = 0;

        let mut group = c.benchmark_group("names/find");
        group.bench_function(BenchmarkId::new("segment", n), |b| {
            b.iter(|| *segment.find::<u64>(&all[next(&mut at, n)]).expect("a root").expect("it is there"));
        });
        group.bench_function(BenchmarkId::new("hashbrown + Mutex", n), |b| {
            b.iter(|| lock()[all[next(&mut at, n)].as_str()]);
        });
        group.finish();

        let mut group = c.benchmark_group("names/find_or_construct hit");
        group.bench_function(BenchmarkId::new("segment", n), |b| {
            b.iter(|| *segment.find_or_construct::<u64>(&all[next(&mut at, n)], 0).expect("a root"));
        });
        group.bench_function(BenchmarkId::new("hashbrown + Mutex", n), |b| {
            b.iter(|| *lock().entry_ref(all[next(&mut at, n)].as_str()).or_insert(0));
        });
        group.finish();

        let mut group = c.benchmark_group("names/construct + destroy");
        group.bench_function(BenchmarkId::new("segment", n), |b| {
            b.iter(|| {
                black_box(*segment.construct::<u64>(ONE_MORE, 1).expect("a root"));
                segment.destroy::<u64>(ONE_MORE).expect("a root to destroy")
            });
        });
        group.bench_function(BenchmarkId::new("hashbrown + Mutex", n), |b| {
            b.iter(|| {
                black_box(lock().insert(ONE_MORE.to_string(), 1));
                lock().remove(ONE_MORE)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, directory);
criterion_main!(benches);
