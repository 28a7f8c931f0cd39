//! One value has no length.
use shmem_core::{Root, ShmRoots, ShmVec};

#[derive(ShmRoots)]
struct Roots {
    #[shm(len = 16)]
    list: Root<ShmVec<u64>>,
    #[shm(len = 16, init = |i| i as u64)]
    numbers: Root<u64>,
}

fn main() {}
