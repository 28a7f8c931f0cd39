//! Generic arguments of a type of one's own are looked into.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Pair<T> {
    one: T,
    two: T,
}

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: Pair<String>,
}

fn main() {}
