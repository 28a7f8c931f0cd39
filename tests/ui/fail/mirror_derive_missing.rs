//! What a twin derives its fields must implement.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder, derive(Copy, Nonsense))]
struct Order {
    id: u64,
}

fn main() {}
