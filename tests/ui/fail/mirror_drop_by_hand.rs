//! The twin is a stored type: its destructor gets a view (soundness A2).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    name: String,
}

impl Drop for ShmOrder {
    fn drop(&mut self) {}
}

fn main() {}
