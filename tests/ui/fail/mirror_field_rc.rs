//! A field of a type that no twin is known of.
use shmem_core::ShmSafe;
use std::rc::Rc;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    name: Rc<String>,
}

fn main() {}
