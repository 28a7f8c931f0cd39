//! Another process maps the segment at another multiple of 4096 (soundness A12).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C, align(8192))]
struct Stored {
    id: u64,
}

fn main() {}
