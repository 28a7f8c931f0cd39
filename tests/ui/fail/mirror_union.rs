//! Nothing tells which field of a union is to be converted.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmNumber)]
union Number {
    whole: u64,
    real: f64,
}

fn main() {}
