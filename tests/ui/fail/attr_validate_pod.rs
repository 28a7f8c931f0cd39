//! A plain-old-data type is valid whatever its bytes are.
use shmem_core::ShmSafe;

#[derive(ShmSafe, Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[shm(pod, validate = Stored::check)]
#[repr(C)]
struct Stored {
    even: u64,
}

fn main() {}
