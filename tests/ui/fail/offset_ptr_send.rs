//! An `OffsetPtr` alone is neither `Send` nor `Sync` (soundness A9).
use shmem_core::OffsetPtr;

fn send<T: Send>() {}
fn sync<T: Sync>() {}

fn main() {
    send::<OffsetPtr<u64>>();
    sync::<OffsetPtr<u64>>();
}
