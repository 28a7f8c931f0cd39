//! An enum with a lifetime parameter cannot outlive its process.
use shmem_core::ShmSafe;
use std::marker::PhantomData;

#[derive(ShmSafe)]
#[repr(u8)]
enum Job<'a> {
    Idle,
    Running(u64, PhantomData<&'a ()>),
}

fn main() {}
