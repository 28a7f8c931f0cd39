//! A variant's field that owns memory of one process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(String),
}

fn main() {}
