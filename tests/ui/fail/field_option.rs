//! `Option` has no stable layout (soundness C5).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: Option<u64>,
}

fn main() {}
