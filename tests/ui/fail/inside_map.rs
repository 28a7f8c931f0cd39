//! Every argument.
use shmem_core::{ShmHashMap, ShmSafe};

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: ShmHashMap<String, Vec<u8>>,
}

fn main() {}
