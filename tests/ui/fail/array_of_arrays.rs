//! To any depth.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: [[&'static str; 2]; 2],
}

fn main() {}
