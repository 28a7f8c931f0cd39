//! `ShmPod` takes only what is `Pod`.
use shmem_core::ShmSafe;
use shmem_core::ShmPod;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: ShmPod<String>,
}

fn main() {}
