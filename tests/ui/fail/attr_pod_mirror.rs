//! A plain-old-data type needs no twin.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(pod, mirror = ShmStored)]
struct Stored {
    id: u64,
}

fn main() {}
