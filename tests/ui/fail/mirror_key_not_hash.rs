//! The twin of a map's key is a key: it needs `#[shm(hash)]`.
use shmem_core::ShmSafe;
use std::collections::HashMap;

#[derive(ShmSafe, PartialEq, Eq, Hash)]
#[shm(mirror = ShmKey, derive(PartialEq, Eq))]
struct Key {
    id: u64,
    name: String,
}

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    places: HashMap<Key, u64>,
}

fn main() {}
