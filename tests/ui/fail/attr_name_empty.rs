//! A name is not empty.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(unsafe(name = ""))]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
