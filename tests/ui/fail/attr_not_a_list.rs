//! `shm` has its keys in parentheses.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm = "hash"]
#[repr(u8)]
enum Job {
    #[shm]
    Idle,
    Running(u64),
}

fn main() {}
