//! What has no fixed hash is no key.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmKey, hash)]
struct Key {
    id: u64,
    ratio: f64,
}

fn main() {}
