//! Nor has what was borrowed: to get it back, it would have to be owned.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    name: &'static str,
}

fn main() {}
