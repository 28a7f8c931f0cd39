//! A std collection.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::collections::HashSet<u64>,
}

fn main() {}
