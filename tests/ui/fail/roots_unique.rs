//! What is found by its type has no name and no length, and is the only one of it.
use shmem_core::{Root, ShmRoots, ShmVec};

#[derive(ShmRoots)]
struct Roots {
    #[shm(unique, name = "numbers")]
    numbers: Root<ShmVec<u64>>,
    #[shm(unique, len = 4)]
    shards: Root<[u64]>,
    #[shm(unique)]
    one: Root<u32>,
    #[shm(unique)]
    another: Root<u32>,
}

fn main() {}
