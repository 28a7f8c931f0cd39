//! Two fields of one name.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    #[shm(rename = "n")]
    count: u64,
    #[shm(rename = "n")]
    number: u64,
}

fn main() {}
