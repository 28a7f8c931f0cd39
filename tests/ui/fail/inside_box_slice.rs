//! Also the elements of a slice.
use shmem_core::{ShmBox, ShmSafe};

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: ShmBox<[String]>,
}

fn main() {}
