//! It is a function.
use shmem_core::ShmSafe;

const EVEN: u64 = 2;

#[derive(ShmSafe)]
#[shm(validate = EVEN)]
#[repr(u8)]
enum Job {
    Idle,
    Running(u64),
}

fn main() {}
