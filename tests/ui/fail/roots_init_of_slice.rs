//! The initialiser of a slice is a function of the index, and its length a number.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Zeroes {
    #[shm(len = 3, init = 0)]
    zeroes: Root<[u64]>,
}

#[derive(ShmRoots)]
struct Numbers {
    #[shm(len = "three")]
    numbers: Root<[u64]>,
}

fn main() {}
