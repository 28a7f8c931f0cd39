//! `NonNull` is a pointer.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::ptr::NonNull<u64>,
}

fn main() {}
