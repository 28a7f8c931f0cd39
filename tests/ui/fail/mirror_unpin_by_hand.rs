//! And its `Unpin` is the derive's (soundness D).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    name: String,
}

impl Unpin for ShmOrder {}

fn main() {}
