//! A tag has 64 bits at most.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u128)]
enum Side {
    Buy,
    Sell,
}

fn main() {}
