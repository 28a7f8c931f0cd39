//! A shared type is its own twin, but to get it back it must be `Clone`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Side {
    Buy,
    Sell,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    side: Side,
}

fn main() {}
