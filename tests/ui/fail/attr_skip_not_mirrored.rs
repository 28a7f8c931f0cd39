//! Every field of a stored type is stored.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    #[shm(skip)]
    cache: u64,
}

fn main() {}
