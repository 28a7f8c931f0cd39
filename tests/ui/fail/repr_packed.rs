//! Packed fields are not aligned.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C, packed)]
struct Stored {
    id: u64,
}

fn main() {}
