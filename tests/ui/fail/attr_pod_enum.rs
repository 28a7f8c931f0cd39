//! An enum is not: some bytes are none of its variants.
use shmem_core::ShmSafe;

#[derive(ShmSafe, Clone, Copy)]
#[shm(pod)]
#[repr(u8)]
enum Side {
    Buy,
    Sell,
}

fn main() {}
