//! To any depth.
use shmem_core::{ShmMutex, ShmOption, ShmSafe, ShmVec};

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: ShmMutex<ShmVec<ShmOption<(u8, u8)>>>,
}

fn main() {}
