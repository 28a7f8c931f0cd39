//! The functions' names are taken.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    one: Root<u64>,
}

impl Roots {
    fn destroy() {}
}

fn main() {}
