//! A name has a byte.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    #[shm(rename = "")]
    Idle,
    Running(#[shm(rename = "")] u64),
}

fn main() {}
