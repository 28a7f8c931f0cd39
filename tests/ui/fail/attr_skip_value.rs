//! `skip` stands alone.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    #[shm(skip = true)]
    cache: u64,
}

fn main() {}
