//! A name is text.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(unsafe(name = Stored))]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
