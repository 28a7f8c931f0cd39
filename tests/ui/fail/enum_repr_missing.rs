//! An enum without a `repr` has no layout that every process shares.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
enum Job {
    Idle,
    Running(u64),
}

fn main() {}
