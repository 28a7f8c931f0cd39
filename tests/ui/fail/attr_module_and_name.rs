//! A whole name leaves nothing for a module to say.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(unsafe(name = "bank/Account"))]
#[shm(unsafe(module = "bank::v1"))]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
