//! Enums are not available yet.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C, u8)]
enum Stored {
    Number(u64),
    Nothing,
}

fn main() {}
