//! An alignment alone fixes no layout.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(align(8))]
enum Side {
    Buy,
    Sell,
}

fn main() {}
