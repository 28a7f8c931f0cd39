//! An exclusive reference.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: &'static mut u64,
}

fn main() {}
