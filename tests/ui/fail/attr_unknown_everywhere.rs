//! Unknown keys, at each place.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(serialize)]
#[repr(u8)]
enum Job {
    #[shm(alias("Rest"))]
    Idle,
    Running(#[shm(flatten, rename = "n")] u64),
}

fn main() {}
