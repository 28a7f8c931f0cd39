//! Nor does it have a name.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[shm(skip, rename = "c")]
    cache: u64,
}

fn main() {}
