//! Nor does `Rust`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(Rust)]
struct Stored {
    id: u64,
}

fn main() {}
