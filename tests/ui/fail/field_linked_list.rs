//! A std collection.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::collections::LinkedList<u64>,
}

fn main() {}
