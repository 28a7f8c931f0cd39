//! No address-sensitive type is `Clone` (soundness C6).
use shmem_core::{ShmBox, ShmHashMap, ShmMutex, ShmOption, ShmString, ShmVec};

fn has<T: Clone>() {}

fn main() {
    has::<ShmString>();
    has::<ShmVec<u8>>();
    has::<ShmBox<u8>>();
    has::<ShmOption<ShmString>>();
    has::<ShmHashMap<u8, u8>>();
    has::<ShmMutex<u8>>();
}
