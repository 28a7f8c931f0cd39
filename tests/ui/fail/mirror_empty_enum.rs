//! A type without values needs no twin.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[shm(mirror = ShmNever)]
enum Never {}

fn main() {}
