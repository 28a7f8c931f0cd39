//! The ordinary type does not live in shared memory: its twin does.
use shmem_core::{Segment, ShmSafe};

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    name: String,
}

fn build(segment: &Segment) {
    segment.find::<Order>("order").unwrap();
}

fn main() {
    let _ = build;
}
