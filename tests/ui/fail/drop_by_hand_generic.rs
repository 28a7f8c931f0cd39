//! Also for a generic type.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<T: ShmSafe> {
    value: T,
}

impl<T: ShmSafe> Drop for Stored<T> {
    fn drop(&mut self) {}
}

fn main() {}
