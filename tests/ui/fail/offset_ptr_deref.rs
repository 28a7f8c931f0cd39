//! An `OffsetPtr` is not safely dereferenceable (soundness A8).
use shmem_core::OffsetPtr;

fn read(at: &OffsetPtr<u64>) -> u64 {
    **at
}

fn main() {
    let _ = read;
}
