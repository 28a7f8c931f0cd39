//! `PhantomData` counts for identity, so its argument must be `ShmSafe`.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored {
    id: u64,
    value: std::marker::PhantomData<&'static u64>,
}

fn main() {}
