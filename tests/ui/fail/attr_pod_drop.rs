//! Nor is what has a destructor.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(pod, drop)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
