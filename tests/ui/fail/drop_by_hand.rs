//! `Drop` gets a `&mut self` (soundness A2).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
}

impl Drop for Stored {
    fn drop(&mut self) {}
}

fn main() {}
