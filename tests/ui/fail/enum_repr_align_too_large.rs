//! Segments are mapped at page boundaries only.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8, align(8192))]
enum Job {
    Idle,
    Running(u64),
}

fn main() {}
