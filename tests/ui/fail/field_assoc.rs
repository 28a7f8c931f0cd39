//! Nor an associated type.
use shmem_core::ShmSafe;

trait Pick {
    type Choice;
}

impl Pick for u64 {
    type Choice = String;
}

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: <u64 as Pick>::Choice,
}

fn main() {}
