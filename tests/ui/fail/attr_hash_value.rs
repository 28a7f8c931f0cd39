//! `hash` stands alone.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(hash = true, version = 2)]
#[repr(C)]
struct Key {
    id: u64,
}

fn main() {}
