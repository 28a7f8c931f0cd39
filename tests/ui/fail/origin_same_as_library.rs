//! A derived type of a library type's name and shape is another type; its name alone says nothing, so the fields would have to be the library's private ones (soundness A8).
use shmem_core::{OffsetPtr, ShmSafe};

mod mine {
    use super::*;

    #[derive(ShmSafe)]
    #[repr(C)]
    pub struct ShmVec {
        pub ptr: OffsetPtr<u64>,
        pub len: u64,
        pub cap: u64,
    }
}

fn main() {}
