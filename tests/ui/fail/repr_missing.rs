//! Without a `repr` the compiler may lay the fields out differently in every build.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
struct Stored {
    id: u64,
}

fn main() {}
