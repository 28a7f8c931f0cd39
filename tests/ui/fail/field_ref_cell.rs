//! `RefCell` is for one thread.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::cell::RefCell<u64>,
}

fn main() {}
