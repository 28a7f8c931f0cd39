//! `OnceLock` waits within one process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::sync::OnceLock<u64>,
}

fn main() {}
