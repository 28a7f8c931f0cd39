//! Nor is one made by value from another (soundness C6).
use shmem_core::{ShmBox, ShmString, ShmVec};

fn from<F, T: From<F>>() {}
fn collected<T: FromIterator<u8>>() {}

fn main() {
    from::<&str, ShmString>();
    from::<String, ShmString>();
    from::<Vec<u8>, ShmVec<u8>>();
    from::<u8, ShmBox<u8>>();
    collected::<ShmVec<u8>>();
}
