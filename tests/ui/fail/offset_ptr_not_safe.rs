//! `OffsetPtr` is not `ShmSafe`, whatever name it goes by (soundness A8).
use shmem_core::ShmSafe;

type Link = shmem_core::OffsetPtr<u64>;

fn stored<T: ShmSafe>() {}

fn main() {
    stored::<Link>();
}
