//! Every type of the language that may stand in a struct.
use shmem_core::{ShmPod, ShmSafe};
use std::marker::PhantomData;
use std::num::*;
use std::sync::atomic::*;

#[derive(ShmSafe)]
#[repr(C)]
struct All {
    f0: u8,
    f1: u16,
    f2: u32,
    f3: u64,
    f4: u128,
    f5: usize,
    f6: i8,
    f7: i16,
    f8: i32,
    f9: i64,
    f10: i128,
    f11: isize,
    f12: f32,
    f13: f64,
    f14: bool,
    f15: char,
    f16: (),
    f17: AtomicU8,
    f18: AtomicU16,
    f19: AtomicU32,
    f20: AtomicU64,
    f21: AtomicUsize,
    f22: AtomicI8,
    f23: AtomicI16,
    f24: AtomicI32,
    f25: AtomicI64,
    f26: AtomicIsize,
    f27: AtomicBool,
    f28: NonZeroU8,
    f29: NonZeroU64,
    f30: NonZeroI128,
    f31: NonZero<u16>,
    f32: NonZeroUsize,
    f33: [u8; 0],
    f34: [[u16; 3]; 2],
    f35: [u8; 1 << 20],
    f36: PhantomData<u64>,
    f37: ShmPod<[f32; 3]>,
    f38: ShmPod<Option<NonZeroU8>, 7>,
    #[allow(unused_parens)]
    f39: (u8),
    f40: std::primitive::u8,
}

fn main() {
    assert_eq!(All::type_info().size, size_of::<All>());
}
