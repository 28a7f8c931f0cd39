//! A function of the index without a length.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    #[shm(init = |i| i as u64)]
    numbers: Root<[u64]>,
    #[shm(unique, init = move |_| 7)]
    number: Root<u64>,
}

fn main() {}
