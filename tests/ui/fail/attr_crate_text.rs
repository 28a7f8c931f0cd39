//! The library's path is a path.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(crate = "shmem_core")]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
