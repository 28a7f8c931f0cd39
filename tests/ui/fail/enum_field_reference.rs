//! A variant's field that borrows.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed { why: &'static str },
}

fn main() {}
