//! No attribute says that a type is the library's (soundness A8).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(origin = "builtin")]
#[repr(C)]
pub struct ShmVec {
    pub ptr: i64,
    pub len: u64,
    pub cap: u64,
}

fn main() {}
