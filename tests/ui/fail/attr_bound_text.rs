//! They are tokens, not text.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(bound = "T: Copy")]
#[repr(C)]
struct Stored<T> {
    value: T,
}

fn main() {}
