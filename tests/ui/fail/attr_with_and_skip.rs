//! What is not stored is not converted.
use shmem_core::ShmSafe;
use std::time::Duration;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[shm(skip, with = seconds)]
    took: Duration,
}

fn main() {}
