//! And no other number.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version = 1u8)]
#[repr(u8)]
enum Job {
    Idle,
}

fn main() {}
