//! The compiler itself knows no packed enums.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8, packed)]
enum Job {
    Idle,
    Running(u64),
}

fn main() {}
