//! An enum has a tag, also where the language would let it go.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(transparent)]
enum Only {
    One(u64),
}

fn main() {}
