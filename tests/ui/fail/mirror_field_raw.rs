//! Nor a pointer.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    buffer: *const u8,
}

fn main() {}
