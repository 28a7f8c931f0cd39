//! Packed fields are not aligned.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
#[repr(packed(2))]
struct Stored {
    id: u64,
}

fn main() {}
