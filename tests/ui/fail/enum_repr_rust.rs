//! `repr(Rust)` fixes no layout.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(Rust)]
enum Job {
    Idle,
    Running(u64),
}

fn main() {}
