//! A twin that owns memory of its segment is not cloned bitwise (soundness C6).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder, derive(Clone))]
struct Order {
    name: String,
}

fn main() {}
