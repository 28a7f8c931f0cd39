//! A type that is stored itself derives for itself.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(derive(Debug))]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
