//! A union says not which of its fields is valid.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
union Stored {
    id: u64,
    ratio: f64,
}

fn main() {}
