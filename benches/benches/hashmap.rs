//! `ShmHashMap` and hashbrown's map with foldhash: insert, find, iterate, remove, in one process.
//!
//! This file needs `unsafe`: it writes without a lock.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use shmem_core::{HashMapMut, Root, Segment, ShmHashMap};
use std::hint::black_box;

type Map = ShmHashMap<u64, u64>;

/// From what fits the first-level cache to what fits none.
const SIZES: [u64; 3] = [500, 50_000, 1_000_000];

/// A cheap bijection: distinct keys in no order.
fn key(i: u64) -> u64 {
    let x = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn segment() -> Segment {
    Segment::anonymous().size(256 << 20).commit_all(true).create().expect("a segment")
}

fn empty_ours(segment: &Segment) -> Root<Map> {
    segment.construct::<Map>("map", ShmHashMap::new()).expect("a map")
}

fn fill_ours(map: &mut HashMapMut<'_, u64, u64>, n: u64) {
    for i in 0..n {
        map.insert(key(i), i).expect("room for the map");
    }
}

fn destroy_ours(segment: &Segment, root: Root<Map>) {
    drop(root);
    segment.destroy::<Map>("map").expect("a map to destroy");
}

fn fill_hashbrown(n: u64) -> HashMap<u64, u64> {
    let mut map = HashMap::new();
    for i in 0..n {
        map.insert(key(i), i);
    }
    map
}

fn insert(c: &mut Criterion) {
    let segment = segment();
    let mut group = c.benchmark_group("hashmap/insert");
    for n in SIZES {
        group.throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::new("ShmHashMap", n), |b| {
            b.iter(|| {
                let root = empty_ours(&segment);
                // SAFETY: no other thread or process knows this segment; the view ends here.
                fill_ours(&mut unsafe { root.view_unchecked() }, n);
                destroy_ours(&segment, root);
            });
        });
        group.bench_function(BenchmarkId::new("hashbrown", n), |b| b.iter(|| fill_hashbrown(n)));
    }
    group.finish();
}

fn read(c: &mut Criterion) {
    for n in SIZES {
        let segment = segment();
        let ours = empty_ours(&segment);
        // SAFETY: no other thread or process knows this segment; the view ends here.
        fill_ours(&mut unsafe { ours.view_unchecked() }, n);
        let hashbrown = fill_hashbrown(n);
        for (work, first) in [("find hit", 0), ("find miss", n)] {
            let mut group = c.benchmark_group(format!("hashmap/{work}"));
            group.throughput(Throughput::Elements(n));
            // Another order than that of insertion.
            let keys: Vec<u64> = (0..n).map(|i| key(first + key(i) % n)).collect();
            group.bench_function(BenchmarkId::new("ShmHashMap", n), |b| {
                b.iter(|| keys.iter().filter_map(|k| black_box(&*ours).get(k)).count());
            });
            group.bench_function(BenchmarkId::new("hashbrown", n), |b| {
                b.iter(|| keys.iter().filter_map(|k| black_box(&hashbrown).get(k)).count());
            });
            group.finish();
        }
        let mut group = c.benchmark_group("hashmap/iterate");
        group.throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::new("ShmHashMap", n), |b| {
            b.iter(|| black_box(&*ours).values().sum::<u64>());
        });
        group.bench_function(BenchmarkId::new("hashbrown", n), |b| {
            b.iter(|| black_box(&hashbrown).values().sum::<u64>());
        });
        group.finish();
    }
}

fn remove(c: &mut Criterion) {
    let segment = segment();
    let mut group = c.benchmark_group("hashmap/remove");
    for n in SIZES {
        group.throughput(Throughput::Elements(n));
        let root = empty_ours(&segment);
        // SAFETY: no other thread or process knows this segment.
        let mut map = unsafe { root.view_unchecked() };
        group.bench_function(BenchmarkId::new("ShmHashMap", n), |b| {
            b.iter_custom(|times| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..times {
                    fill_ours(&mut map, n);
                    let start = std::time::Instant::now();
                    for i in 0..n {
                        let _ = black_box(map.remove(&key(i)));
                    }
                    spent += start.elapsed();
                }
                spent
            });
        });
        destroy_ours(&segment, root);
        group.bench_function(BenchmarkId::new("hashbrown", n), |b| {
            b.iter_batched_ref(
                || fill_hashbrown(n),
                |map| {
                    for i in 0..n {
                        black_box(map.remove(&key(i)));
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, insert, read, remove);
criterion_main!(benches);
