//! A variant's field that holds an address.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job {
    Idle,
    Running(*mut u64),
}

fn main() {}
