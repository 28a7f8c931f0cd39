//! `ShmVec` and `Vec`: push and iterate, small to large, in one process.
//!
//! This file needs `unsafe`: it writes without a lock.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shmem_core::{Segment, ShmVec};
use std::hint::black_box;

type Result<T = (), E = shmem_core::Error> = std::result::Result<T, E>;

/// From what fits the first-level cache to what fits none.
const SIZES: [u64; 3] = [1_000, 100_000, 2_000_000];

fn segment() -> Result<Segment> {
    Segment::anonymous().size(256 << 20).commit_all(true).create()
}

fn push_ours(segment: &Segment, n: u64) -> Result<u64> {
    let root = segment.construct::<ShmVec<u64>>("vector", ShmVec::new())?;
    // SAFETY: no other thread or process knows this segment.
    let mut vec = unsafe { root.view_unchecked() };
    for i in 0..n {
        vec.push(i)?;
    }
    let len = root.len() as u64;
    drop(root);
    segment.destroy::<ShmVec<u64>>("vector")?;
    Ok(len)
}

fn push_std(n: u64) -> u64 {
    let mut vec = Vec::new();
    for i in 0..n {
        vec.push(i);
    }
    black_box(&vec).len() as u64
}

fn push(c: &mut Criterion) {
    let segment = segment().expect("a segment");
    let mut group = c.benchmark_group("vector/push");
    for n in SIZES {
        group.throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::new("ShmVec", n), |b| {
            b.iter(|| push_ours(&segment, n).expect("room for the vector"));
        });
        group.bench_function(BenchmarkId::new("Vec", n), |b| b.iter(|| push_std(n)));
    }
    group.finish();
}

fn iterate(c: &mut Criterion) {
    let mut group = c.benchmark_group("vector/iterate");
    for n in SIZES {
        group.throughput(Throughput::Elements(n));
        let segment = segment().expect("a segment");
        let root = segment.construct::<ShmVec<u64>>("vector", ShmVec::new()).expect("a vector");
        // SAFETY: no other thread or process knows this segment.
        let mut vec = unsafe { root.view_unchecked() };
        for i in 0..n {
            vec.push(i).expect("room for the vector");
        }
        let std: Vec<u64> = (0..n).collect();
        group.bench_function(BenchmarkId::new("ShmVec", n), |b| {
            b.iter(|| black_box(&*root).iter().sum::<u64>());
        });
        group.bench_function(BenchmarkId::new("Vec", n), |b| b.iter(|| black_box(&std).iter().sum::<u64>()));
    }
    group.finish();
}

criterion_group!(benches, push, iterate);
criterion_main!(benches);
