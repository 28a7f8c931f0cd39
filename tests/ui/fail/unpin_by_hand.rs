//! `Unpin` is the derive's to give (soundness D).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
}

impl Unpin for Stored {}

fn main() {}
