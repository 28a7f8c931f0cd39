//! It has to be given.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror)]
struct Order {
    name: String,
}

fn main() {}
