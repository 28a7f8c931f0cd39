//! A reference holds an address.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: &'static u64,
}

fn main() {}
