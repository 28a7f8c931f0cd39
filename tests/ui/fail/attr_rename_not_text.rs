//! A field's name is text.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    #[shm(rename = n)]
    id: u64,
}

fn main() {}
