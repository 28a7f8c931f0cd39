//! An attribute given twice.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version = 1, hash)]
#[shm(version = 2)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
