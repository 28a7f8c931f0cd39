//! A variant's field without a size.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(str),
}

fn main() {}
