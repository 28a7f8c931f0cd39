//! Nothing in a segment borrows.
use shmem_core::ShmSafe;

#[derive(ShmSafe)]
#[repr(C)]
struct Stored<'a> {
    id: u64,
    marker: std::marker::PhantomData<fn(&'a ())>,
}

fn main() {}
