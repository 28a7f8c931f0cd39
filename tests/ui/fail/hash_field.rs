//! A key of which a field has no fixed hash (soundness C1).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(hash)]
#[repr(C)]
struct Key {
    ratio: f64,
}

fn main() {}
