//! A stored type's fields are not converted.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    #[shm(with = seconds)]
    took: u64,
}

fn main() {}
