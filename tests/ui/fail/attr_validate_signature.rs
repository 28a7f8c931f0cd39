//! The function that checks a value takes a reference to it and says what is wrong.
use shmem_core::ShmSafe;

fn is_even(stored: &Stored) -> bool {
    stored.even % 2 == 0
}

#[derive(ShmSafe)]
#[shm(validate = is_even)]
#[repr(C)]
struct Stored {
    even: u64,
}

fn main() {}
