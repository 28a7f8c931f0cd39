//! A field of a variant without an initialiser.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(u8)]
pub enum Job {
    Idle,
    Running { id: u64, name: ShmString },
}

fn main() {
    let _ = JobRunningInit { id: 1 };
}
