//! A file descriptor is one process's.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::fs::File,
}

fn main() {}
