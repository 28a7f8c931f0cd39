//! A function's address differs in every process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: unsafe extern "C" fn(),
}

fn main() {}
