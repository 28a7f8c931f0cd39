//! Also beside `#[shm(drop)]`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C)]
struct Stored {
    id: u64,
}

impl shmem_core::ShmDrop for Stored {
    fn drop(_: StoredMut<'_>) {}
}

impl Drop for Stored {
    fn drop(&mut self) {}
}

fn main() {}
