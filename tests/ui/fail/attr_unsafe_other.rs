//! Only a name is unsafe.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(unsafe(hash))]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
