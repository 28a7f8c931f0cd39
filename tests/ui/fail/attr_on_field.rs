//! Fields have no attributes.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    #[shm(hash)]
    id: u64,
}

fn main() {}
