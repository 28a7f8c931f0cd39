//! `align` alone fixes no layout.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(align(64))]
struct Stored {
    id: u64,
}

fn main() {}
