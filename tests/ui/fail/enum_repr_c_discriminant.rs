//! The tag of a `repr(C)` enum is a C `int`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
enum Job {
    Idle = 1 << 40,
    Running,
}

fn main() {}
