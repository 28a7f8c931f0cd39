//! A borrowed slice.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: &'static [u8],
}

fn main() {}
