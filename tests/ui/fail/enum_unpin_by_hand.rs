//! `Unpin` is the derive's to give (soundness D), also of an enum.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

impl Unpin for Job {}

fn main() {}
