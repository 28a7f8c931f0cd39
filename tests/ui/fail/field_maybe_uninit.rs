//! `MaybeUninit` may hold no value.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::mem::MaybeUninit<u64>,
}

fn main() {}
