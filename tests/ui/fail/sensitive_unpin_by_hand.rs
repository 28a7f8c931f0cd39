//! Nobody can say that it is movable (soundness D).
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

impl Unpin for Two {}

fn main() {}
