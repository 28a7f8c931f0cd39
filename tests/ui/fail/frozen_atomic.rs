//! What changes through a shared reference is not `Frozen` (soundness A4).
use shmem_core::{Frozen, ShmSafe};
use std::sync::atomic::AtomicU64;

#[derive(ShmSafe)]
#[repr(C)]
struct Counters {
    hits: [AtomicU64; 4],
}

#[derive(ShmSafe)]
#[repr(C)]
struct Page<T> {
    size: u32,
    counters: T,
}

fn frozen<T: Frozen>() {}

fn main() {
    frozen::<Page<u64>>();
    frozen::<Page<Counters>>();
}
