//! Only the outermost mistake is reported.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: Box<dyn Fn()>,
}

fn main() {}
