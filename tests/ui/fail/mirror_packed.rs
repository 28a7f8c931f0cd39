//! Fields of a packed type cannot be borrowed, so they cannot be converted.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
#[repr(packed)]
struct Order {
    id: u64,
    name: String,
}

fn main() {}
