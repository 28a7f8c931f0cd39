//! `Drop` gets a `&mut self` (soundness A2), also of an enum.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

impl Drop for Job {
    fn drop(&mut self) {}
}

fn main() {}
