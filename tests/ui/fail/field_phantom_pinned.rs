//! Nobody has to say what the derive infers.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::marker::PhantomPinned,
}

fn main() {}
