//! std's `Hash` does not make a key (soundness C1).
use shmem_core::{ShmHash, ShmSafe};

#[derive(ShmSafe, Hash, PartialEq, Eq)]
#[repr(C)]
struct Key {
    id: u64,
}

fn key<K: ShmHash>() {}

fn main() {
    key::<Key>();
}
