//! An enum without variants has no values.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
enum Never {}

fn main() {}
