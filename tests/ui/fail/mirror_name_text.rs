//! Its name is an identifier.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = "ShmOrder")]
struct Order {
    name: String,
}

fn main() {}
