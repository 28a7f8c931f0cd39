//! A function's address differs in every process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: fn(u64) -> u64,
}

fn main() {}
