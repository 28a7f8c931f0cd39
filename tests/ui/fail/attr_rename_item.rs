//! A type is renamed by `unsafe(name = …)`: its name is its identity.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(rename = "Account")]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
