//! A generic type with a destructor declares what its parameters are: `Drop` cannot be for some arguments only.
use shmem_core::{ShmDrop, ShmSafe};

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C)]
struct Stored<T> {
    value: T,
}

impl<T: ShmSafe> ShmDrop for Stored<T> {
    fn drop(_: StoredMut<'_, T>) {}
}

fn main() {}
