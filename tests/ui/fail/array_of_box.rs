//! Arrays are looked into.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: [Box<u64>; 4],
}

fn main() {}
