//! Parameters of an enum are sized.
use shmem_core::ShmSafe;
use std::marker::PhantomData;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job<T: ?Sized> {
    Idle,
    Running(u64, PhantomData<T>),
}

fn main() {}
