//! Also for a generic type.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<T> {
    value: T,
}

impl<T> Unpin for Stored<T> {}

fn main() {}
