//! What a root is of may stand in shared memory, and be shared.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    name: Root<String>,
}

fn main() {}
