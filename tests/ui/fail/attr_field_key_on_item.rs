//! What is said of a field is not said of a type.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(skip, with = module)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
