//! Also for one argument.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<T> {
    value: T,
}

impl Unpin for Stored<u64> {}

fn main() {}
