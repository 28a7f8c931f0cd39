//! Generic arguments are looked into.
use shmem_core::{ShmBox, ShmSafe};

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: ShmBox<dyn Send>,
}

fn main() {}
