//! A key of which a variant's field has no fixed hash (soundness C1).
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(hash)]
#[repr(u8)]
enum Key {
    Name(u64),
    Ratio(f64),
}

fn main() {}
