//! Which variant is an enum's default, the variant says.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(default)]
#[repr(u8)]
enum Job {
    Idle,
    Running(u64),
}

fn main() {}
