//! A type of one's own that does not derive it.
use shmem_core::ShmSafe;

#[repr(C)]
struct Plain(u64);

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: Plain,
}

fn main() {}
