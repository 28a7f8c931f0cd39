//! What is said of a variant is not said of a field.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running(#[shm(default)] u64),
}

fn main() {}
