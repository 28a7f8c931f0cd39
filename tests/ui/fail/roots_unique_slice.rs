//! What is found by its type is one value.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    #[shm(unique)]
    shards: Root<[u64]>,
    #[shm(unique)]
    optional: Option<Root<[u64]>>,
}

fn main() {}
