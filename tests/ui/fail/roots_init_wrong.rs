//! An initialiser fits the root.
use shmem_core::{Root, ShmRoots, ShmString};
use std::sync::atomic::AtomicU64;

#[derive(ShmRoots)]
struct Roots {
    #[shm(init = "seven")]
    counter: Root<AtomicU64>,
    #[shm(len = 3, init = |i| i)]
    names: Root<[ShmString]>,
}

fn main() {}
