//! Tokens do not show what an alias stands for; the bound does.
use shmem_core::ShmSafe;

type Text = String;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: Text,
}

fn main() {}
