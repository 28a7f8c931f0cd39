//! It exists.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(validate = Stored::check)]
#[repr(C)]
struct Stored {
    even: u64,
}

fn main() {}
