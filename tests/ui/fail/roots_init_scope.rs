//! An initialiser sees what the struct sees, and nothing of the generated code.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
struct Roots {
    one: Root<u64>,
    #[shm(init = segment.size())]
    two: Root<u64>,
    #[shm(init = *root_0)]
    three: Root<u64>,
    #[shm(init = mode as u64)]
    four: Root<u64>,
}

fn main() {}
