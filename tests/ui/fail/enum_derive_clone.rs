//! A derived `Clone` of an enum would copy offsets (soundness C6).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe, Clone)]
#[repr(u8)]
enum Job {
    Idle,
    Failed(ShmString),
}

fn main() {}
