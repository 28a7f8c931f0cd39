//! `impl Trait` has no name.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    value: impl Send,
}

fn main() {}
