//! Tokens do not show what an alias stands for; the bound does, at the field.
use shmem_core::ShmSafe;

type Text = String;

#[derive(ShmSafe)]
#[repr(C)]
struct Named {
    id: u64,
    text: Text,
}

fn main() {}
