//! `UnsafeCell` has no discipline.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::cell::UnsafeCell<u64>,
}

fn main() {}
