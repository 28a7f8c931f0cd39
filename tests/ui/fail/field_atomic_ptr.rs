//! `AtomicPtr` is a pointer.
use shmem_core::ShmSafe;
use std::sync::atomic::AtomicPtr;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: AtomicPtr<u64>,
}

fn main() {}
