//! A twin is built by its own type.
use shmem_core::{Segment, ShmSafe};

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    name: String,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmFill)]
struct Fill {
    name: String,
}

fn build(segment: &Segment, fill: &Fill) {
    segment.construct::<ShmOrder>("order", fill).unwrap();
}

fn main() {
    let _ = build;
}
