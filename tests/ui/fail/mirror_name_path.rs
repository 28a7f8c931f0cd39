//! The twin stands where its type does.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = shared::Order)]
struct Order {
    name: String,
}

fn main() {}
