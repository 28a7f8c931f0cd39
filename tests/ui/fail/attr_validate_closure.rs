//! It has a name.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(validate = |_| Ok(()))]
#[repr(C)]
struct Stored {
    even: u64,
}

fn main() {}
