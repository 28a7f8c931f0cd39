//! A version is a number.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version = "1.0")]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
