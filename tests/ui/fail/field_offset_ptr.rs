//! `OffsetPtr` owns nothing and is not `ShmSafe` (soundness A8).
use shmem_core::ShmSafe;
use shmem_core::OffsetPtr;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: OffsetPtr<u64>,
}

fn main() {}
