//! There is one.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    #[shm(default)]
    Idle,
    #[shm(default)]
    Running(u64),
}

fn main() {}
