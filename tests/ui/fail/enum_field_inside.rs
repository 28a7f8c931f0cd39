//! What a variant's field holds is looked at too.
use shmem_core::{ShmSafe, ShmVec};

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Waiting(ShmVec<Option<Box<Job>>>),
}

fn main() {}
