//! An enum without fields is viewed as a number is: there is no type of the view.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Side {
    Buy,
    Sell,
}

fn flip(view: SideMut<'_>) {
    let _ = view;
}

fn main() {
    let _ = flip;
}
