//! Two fields of one variant with one name; in another variant it is free.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle(#[shm(rename = "n")] u8),
    Running {
        n: u64,
        #[shm(rename = "n")]
        number: u64,
    },
}

fn main() {}
