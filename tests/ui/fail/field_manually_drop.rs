//! `ManuallyDrop` hides what is owned.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::mem::ManuallyDrop<u64>,
}

fn main() {}
