//! `Weak` shares memory of one process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::sync::Weak<u64>,
}

fn main() {}
