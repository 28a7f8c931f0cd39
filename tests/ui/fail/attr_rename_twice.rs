//! A key of a field is given once.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    #[shm(rename = "a", rename = "b")]
    Idle,
    Running(#[shm(rename = "a")] #[shm(rename = "b")] u64),
}

fn main() {}
