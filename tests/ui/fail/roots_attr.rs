//! Every mistake in an attribute is reported at its token.
use shmem_core::{Root, ShmRoots};

#[derive(ShmRoots)]
#[shm(prefix = "a/", prefix = "b/")]
#[shm(name = "roots", version = 2)]
struct Roots {
    #[shm(optional)]
    one: Root<u64>,
    #[shm(unique, unique)]
    two: Root<u32>,
    #[shm(colour = "red", crate = shmem_core)]
    three: Root<u64>,
    #[shm(name = four)]
    four: Root<u64>,
    #[shm]
    five: Root<u64>,
    #[shm(init)]
    six: Root<u64>,
    #[shm(len = )]
    seven: Root<[u64]>,
    #[shm(unique = true)]
    eight: Root<u64>,
}

fn main() {}
