//! What a twin derives is a list of paths.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder, derive = "Debug")]
struct Order {
    id: u64,
}

fn main() {}
