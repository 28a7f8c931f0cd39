//! It is not moved out of a reference.
use shmem_core::{ShmSafe, ShmString};

#[derive(ShmSafe)]
#[repr(C)]
struct Two {
    a: ShmString,
    b: ShmString,
}

fn take(two: &Two) -> ShmString {
    two.a
}

fn main() {
    let _ = take;
}
