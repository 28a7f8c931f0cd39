//! A raw pointer.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: *mut u8,
}

fn main() {}
