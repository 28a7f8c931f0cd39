//! And movable: a shared container is not carried out of its segment.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Label {
    text: ShmString,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    label: Label,
}

fn main() {}
