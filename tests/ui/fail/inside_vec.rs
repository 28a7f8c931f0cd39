//! Generic arguments are looked into.
use shmem_core::{ShmSafe, ShmVec};

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: ShmVec<&'static str>,
}

fn main() {}
