//! A field that is given the name of one that follows.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    #[shm(rename = "number")]
    count: u64,
    number: u64,
}

fn main() {}
