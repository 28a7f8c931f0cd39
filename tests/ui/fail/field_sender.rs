//! A std channel.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::sync::mpsc::Sender<u64>,
}

fn main() {}
