//! `#[shm(drop)]` on an enum without the trait's implementation.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn main() {}
