//! A module's path is not empty.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(unsafe(module = ""))]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
