//! A crate without unsafe code of its own, with strict lints.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, unused, rust_2018_idioms, future_incompatible)]

use shmem_core::{ShmDrop, ShmSafe};

/// A point.
#[derive(ShmSafe, Debug, Clone, Copy, PartialEq)]
#[shm(hash)]
#[repr(C)]
pub struct Point<T> {
    /// To the right.
    pub x: T,
    /// Upwards.
    pub y: T,
    secret: u8,
}

/// A private type in a private field.
#[derive(ShmSafe)]
#[repr(C)]
struct Inner(#[deprecated] u64);

/// Nothing.
#[derive(ShmSafe)]
#[repr(C)]
pub struct Nothing;

/// Has a destructor.
#[derive(ShmSafe)]
#[shm(drop)]
#[repr(C, align(64))]
pub struct Closing<T: ShmSafe> {
    inner: Inner,
    value: T,
}

impl<T: ShmSafe> ShmDrop for Closing<T> {
    fn drop(this: ClosingMut<'_, T>) {
        let _ = this.value;
        #[allow(deprecated)]
        let _ = this.inner.0;
    }
}

fn main() {
    let _ = PointInit { x: 1, y: 2, secret: 3 };
    #[allow(deprecated)]
    drop(Closing { inner: Inner(1), value: Nothing });
}
