//! Two variants of one name.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    #[shm(rename = "Running")]
    Idle,
    Running(u64),
}

fn main() {}
