//! What the code that `#[derive(ShmSafe)]` writes refers to. No part of the API.
//!
//! This file needs `unsafe`: it builds fields in place and finds the segment of a value being dropped.

use crate::access::{Access, MAX_ALIGN};
use crate::error::Result;
use crate::layout::{ConstArg, Init, ShmSafe};
use crate::mapping::registry;
use std::mem::ManuallyDrop;

pub use core;

/// Access to the segment that `at` stands in; detached if it stands in none.
///
/// # Safety
/// 1. If `at` lies in a mapped segment, that mapping lives for `'a`.
#[inline]
pub unsafe fn access_of<'a, T>(at: *const T) -> Access<'a> {
    // SAFETY: 1.
    unsafe { registry::access_of(at) }
}

/// A field that was built; dropped with it if a later one fails.
#[derive(Debug)]
pub struct Built<T>(*mut T);

impl<T> Built<T> {
    /// The value is whole: the field stays.
    #[inline]
    pub fn keep(self) {
        let _ = ManuallyDrop::new(self);
    }
}

/// [`Init`] without the bound on `T`, so that a field of a wrong type is reported once, at the field.
pub trait InitField<T> {
    /// Builds the field at `slot`.
    ///
    /// # Errors
    /// The initialiser's.
    ///
    /// # Safety
    /// 1. As [`Init::init`]; while the guard lives, nobody uses the field.
    unsafe fn build(self, slot: *mut T, access: Access<'_>) -> Result<Built<T>>;
}

impl<T: ShmSafe, I: Init<T>> InitField<T> for I {
    #[inline]
    unsafe fn build(self, slot: *mut T, access: Access<'_>) -> Result<Built<T>> {
        // SAFETY: 1.
        unsafe { self.init(slot, access)? };
        Ok(Built(slot))
    }
}

impl<T> Drop for Built<T> {
    fn drop(&mut self) {
        // SAFETY: `new` built the field, and the struct it belongs to never came to be.
        unsafe { self.0.drop_in_place() }
    }
}

/// A field as [`check_layout`] needs it.
#[derive(Debug)]
pub struct FieldLayout {
    /// `offset_of!`.
    pub offset: usize,
    /// `size_of` of its type.
    pub size: usize,
    /// `align_of` of its type.
    pub align: usize,
}

/// Re-checks, on what the compiler made of it, that a struct is laid out as `repr(C)` says; `transparent` ones have
/// one field with bytes, at the start. An attribute macro may have changed what the derive saw.
///
/// # Panics
/// If it is not: at compile time.
pub const fn check_layout(size: usize, align: usize, transparent: bool, fields: &[FieldLayout]) {
    assert!(align <= MAX_ALIGN, "the alignment of a type in shared memory is at most 4096 bytes");
    let (mut end, mut i) = (0usize, 0);
    while i < fields.len() {
        let field = &fields[i];
        i += 1;
        assert!(
            field.align <= align,
            "a type in shared memory must not be packed (was `packed` added by another attribute?)"
        );
        if transparent && field.size == 0 {
            continue;
        }
        assert!(
            field.offset == end.next_multiple_of(field.align),
            "the fields are not laid out as `repr(C)` says (was the `repr` changed by another attribute?)"
        );
        end = field.offset + field.size;
    }
    assert!(
        size == end.next_multiple_of(align),
        "the size is not what `repr(C)` gives (was the `repr` changed by another attribute?)"
    );
}

/// A const argument; which [`ConstArg`] it is depends on its type alone, whatever name that was written by.
#[derive(Debug)]
pub struct ConstParam<T>(pub T);

macro_rules! const_param {
    ($($variant:ident($wide:ty): $($ty:ty)*;)*) => { $($(impl ConstParam<$ty> {
        /// The argument as a schema has it.
        pub const fn arg(self) -> ConstArg {
            ConstArg::$variant(self.0 as $wide)
        }
    })*)* };
}
const_param! {
    Unsigned(u128): u8 u16 u32 u64 u128 usize;
    Signed(i128): i8 i16 i32 i64 i128 isize;
    Bool(bool): bool;
    Char(char): char;
}

/// Lets the stand-in implementation that follows an error in a derive compile, whatever the type is.
pub trait Fallback<'a>: Sized + Send + 'static {}

impl<T: Sized + Send + 'static> Fallback<'_> for T {}
