//! A std collection.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::collections::HashMap<u64, u64>,
}

fn main() {}
