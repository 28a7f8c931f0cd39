//! A variant's field that has no stable layout.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    At((u64, u64)),
}

fn main() {}
