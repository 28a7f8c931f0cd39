//! Enums are not available yet.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Stored {
    One = 1,
    Two = 2,
}

fn main() {}
