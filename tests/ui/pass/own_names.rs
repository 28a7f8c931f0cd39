//! Types of one's own that are named as std's, and types that mention `Self`.
use shmem_core::ShmSafe;
use std::marker::PhantomData;

/// A span of time, in nanoseconds.
#[derive(ShmSafe)]
#[repr(C)]
pub struct Duration {
    pub ns: u64,
}

mod shapes {
    #[derive(shmem_core::ShmSafe)]
    #[repr(C)]
    pub struct Range<T> {
        pub start: T,
        pub end: T,
    }
}

#[derive(ShmSafe)]
#[repr(C)]
struct Timer {
    after: self::Duration,
    window: shapes::Range<self::Duration>,
    again: [crate::Duration; Self::AGAIN],
}

impl Timer {
    const AGAIN: usize = 3;
}

#[derive(ShmSafe)]
#[repr(C)]
struct Linked<T>
where
    Self: Send,
{
    value: T,
    next: PhantomData<Self>,
}

fn main() {
    assert_eq!(Timer::type_info().size, 48);
    assert_eq!(Linked::<u8>::type_info().size, 1);
}
