//! An attribute without a list.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
