//! A derived `Clone` would copy offsets (soundness C6).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe, Clone)]
#[repr(C)]
struct Named {
    name: ShmString,
}

fn main() {}
