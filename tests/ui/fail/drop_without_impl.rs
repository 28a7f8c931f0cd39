//! `#[shm(drop)]` needs the `ShmDrop` it is to call.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
