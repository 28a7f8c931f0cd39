//! `SystemTime` has no stable layout (soundness C5).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::time::SystemTime,
}

fn main() {}
