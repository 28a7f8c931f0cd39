//! A parameter that may be unsized.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<T: ?Sized> {
    id: u64,
    marker: std::marker::PhantomData<T>,
}

fn main() {}
