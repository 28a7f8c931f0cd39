//! And how, in both directions.
use shmem_core::ShmSafe;
use std::time::Duration;

mod seconds {
    pub type Shm = u64;
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[shm(with = seconds)]
    took: Duration,
}

fn main() {}
