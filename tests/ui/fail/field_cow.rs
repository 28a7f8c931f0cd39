//! `Cow` may borrow.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::borrow::Cow<'static, str>,
}

fn main() {}
