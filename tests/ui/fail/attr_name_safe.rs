//! To name a type is unsafe (soundness A8).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(name = "ShmVec")]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
