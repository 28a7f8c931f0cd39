//! A free `ShmMutex` and the mutexes of one process.

use criterion::{Criterion, criterion_group, criterion_main};
use shmem_core::{Segment, ShmMutex};
use std::hint::black_box;

fn free(c: &mut Criterion) {
    let segment = Segment::anonymous().size(16 << 20).create().expect("a segment");
    let root = segment.construct::<ShmMutex<u64>>("counter", ShmMutex::new(0)).expect("a mutex");
    let ours = &*root;
    let std = std::sync::Mutex::new(0u64);
    let parking_lot = parking_lot::Mutex::new(0u64);

    let mut group = c.benchmark_group("mutex/free");
    group.bench_function("ShmMutex", |b| b.iter(|| *black_box(ours).lock().expect("no poison") += 1));
    group.bench_function("std", |b| b.iter(|| *black_box(&std).lock().expect("no poison") += 1));
    group.bench_function("parking_lot", |b| b.iter(|| *black_box(&parking_lot).lock() += 1));
    group.finish();
}

criterion_group!(benches, free);
criterion_main!(benches);
