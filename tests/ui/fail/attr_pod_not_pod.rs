//! `pod` says that the type is `bytemuck::Pod`.
use shmem_core::ShmSafe;

#[derive(ShmSafe, Clone, Copy)]
#[shm(pod)]
#[repr(C)]
struct Stored {
    id: u64,
}

fn main() {}
