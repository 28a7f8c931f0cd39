//! Bounds are those of a `where` clause.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(bound(T))]
#[repr(C)]
struct Stored<T> {
    value: T,
}

fn main() {}
