//! A reference to a trait object.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: &'static dyn Send,
}

fn main() {}
