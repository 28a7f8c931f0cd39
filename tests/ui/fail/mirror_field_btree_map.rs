//! An ordered map has none.
use shmem_core::ShmSafe;
use std::collections::BTreeMap;

#[derive(ShmSafe)]
#[shm(mirror = ShmOrder)]
struct Order {
    id: u64,
    labels: BTreeMap<u64, String>,
}

fn main() {}
