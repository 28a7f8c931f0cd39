//! What borrows has no twin that outlives its process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order<'a> {
    name: &'a str,
}

fn main() {}
