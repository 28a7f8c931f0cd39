//! A version is a `u32`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version = -1)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
