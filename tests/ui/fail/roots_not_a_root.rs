//! A field is a root, whatever attributes it has.
use shmem_core::{Owned, Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    fine: Root<u64>,
    number: u64,
    #[shm(init = 1)]
    counter: Owned<u64>,
    #[shm(len = 4)]
    list: Vec<Root<u64>>,
    #[shm(unique)]
    boxed: Box<Root<u64>>,
    optional: Option<u64>,
}

fn main() {}
