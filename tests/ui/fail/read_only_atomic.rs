//! What can change is not shown through a read-only mapping (soundness A4).
use shmem_core::{ReadOnlySegment, ShmMutex};
use std::sync::atomic::AtomicU64;

fn look(segment: &ReadOnlySegment) {
    let _ = segment.find::<AtomicU64>("counter");
    let _ = segment.find::<ShmMutex<u64>>("locked");
}

fn main() {
    let _ = look;
}
