//! A discriminant is repeated inside the derive's own scope: it cannot make a type movable, or frozen, from there.
#![allow(dead_code)]
use shmem_core::{Frozen, ShmSafe, ShmString};
use std::panic::RefUnwindSafe;
use std::sync::atomic::AtomicU64;

pub struct __ShmFields<'a>(&'a ());
pub struct __ShmParts;

#[derive(ShmSafe)]
#[repr(u8)]
enum Movable {
    Idle = {
        impl<'a> Unpin for __ShmFields<'a> {}
        0
    },
    Failed(ShmString),
}

#[derive(ShmSafe)]
#[repr(u8)]
enum Changing {
    Idle = {
        impl RefUnwindSafe for __ShmParts {}
        0
    },
    Counting(AtomicU64),
}

fn main() {
    fn frozen<T: Frozen>() {}
    frozen::<Changing>();
    fn movable<T: Unpin>() {}
    movable::<Movable>();
}
