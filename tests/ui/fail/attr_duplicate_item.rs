//! Every key of a type is given once.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(version = 1, hash, drop)]
#[shm(version = 2, hash, drop)]
#[repr(u8)]
enum Job {
    Idle,
    Running(u64),
}

impl shmem_core::ShmDrop for Job {
    fn drop(_: JobMut<'_>) {}
}

fn main() {}
