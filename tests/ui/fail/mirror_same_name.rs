//! The twin is another type.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = Order)]
struct Order {
    name: String,
}

fn main() {}
