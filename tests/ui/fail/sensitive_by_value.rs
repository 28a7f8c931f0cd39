//! It cannot be its own initialiser: nobody owns one outside a segment.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn push(a: ShmString, b: ShmString) -> impl shmem_core::Init<Two> {
    Two { a, b }
}

fn main() {
    let _ = push;
}
