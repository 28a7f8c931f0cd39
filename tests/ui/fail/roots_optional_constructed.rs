//! An optional root is never constructed.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    #[shm(init = 7)]
    number: Option<Root<u64>>,
    #[shm(len = 4)]
    shards: Option<Root<[u64]>>,
    #[shm(unique, init = 7)]
    only: Option<Root<u32>>,
}

fn main() {}
