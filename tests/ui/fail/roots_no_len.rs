//! A slice has a length, also behind an alias.
use shmem_core::{Root, ShmRoots};

type Numbers = Root<[u64]>;

#[derive(ShmRoots)]
struct Roots {
    shards: Root<[u64]>,
    numbers: Numbers,
    #[shm(init = 7)]
    sevens: Root<[u64]>,
}

fn main() {}
