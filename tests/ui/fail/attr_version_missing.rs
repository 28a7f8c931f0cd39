//! A version is a number.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
