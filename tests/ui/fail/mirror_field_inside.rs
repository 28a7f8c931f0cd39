//! Nor what contains a type without one.
use shmem_core::ShmSafe;
use std::sync::Arc;

#[derive(ShmSafe)]
#[shm(mirror = ShmEvent)]
enum Event {
    Quit,
    Texts(Vec<Option<Arc<str>>>),
}

fn main() {}
