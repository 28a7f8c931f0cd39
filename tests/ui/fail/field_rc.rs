//! `Rc` shares memory of one process.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::rc::Rc<u64>,
}

fn main() {}
