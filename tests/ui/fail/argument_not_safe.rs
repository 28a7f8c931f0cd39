//! A type parameter is `ShmSafe`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Pair<T> {
    one: T,
    two: T,
}

fn stored<T: ShmSafe>() {}

fn main() {
    stored::<Pair<u64>>();
    stored::<Pair<String>>();
}
