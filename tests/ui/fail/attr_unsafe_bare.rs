//! `unsafe` says what is.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(unsafe)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
