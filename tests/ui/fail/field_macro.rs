//! Nor a macro.
use shmem_core::ShmSafe;

macro_rules! text {
    () => { String };
}

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: text!(),
}

fn main() {}
