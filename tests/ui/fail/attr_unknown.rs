//! A misspelt attribute.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(hsah)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
