//! What is said of a type is not said of a variant.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    #[shm(hash)]
    Idle,
    #[shm(version = 2, rename = "Busy")]
    Running(u64),
}

fn main() {}
