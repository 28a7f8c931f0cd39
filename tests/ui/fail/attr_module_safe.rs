//! To name another module is unsafe, and written so.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(module = "bank::v1")]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
