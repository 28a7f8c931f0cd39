//! [`ShmSafe`] for the types of the language: numbers, `bool`, `char`, atomics, `NonZero*`, `()`, `PhantomData`.
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::{Interior, Kind, Origin, Reach, ShmSafe, TypeInfo, Visitor};
use crate::access::Access;
use std::any::TypeId;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// The members every plain type shares: its view is `&mut`, it moves bitwise.
macro_rules! plain_members {
    () => {
        const PLAIN: bool = true;
        type Mut<'a> = &'a mut Self;

        #[inline]
        unsafe fn view<'a>(mut at: NonNull<Self>, access: Access<'a>) -> &'a mut Self {
            // SAFETY: the value is readable; a `&mut` to it is about to be handed out.
            unsafe { access.save_value(at.as_ptr()) };
            // SAFETY: valid and exclusive for `'a` by the caller.
            unsafe { at.as_mut() }
        }

        #[inline]
        unsafe fn relocate(from: *mut Self, to: *mut Self) {
            // SAFETY: both valid and disjoint by the caller.
            unsafe { ptr::copy_nonoverlapping(from, to, 1) }
        }
    };
}
pub(super) use plain_members;

/// The description of a builtin type without parts.
macro_rules! primitive_info {
    ($ty:ty, $name:expr) => {
        const {
            &TypeInfo {
                name: $name,
                origin: Origin::Builtin,
                version: 0,
                size: size_of::<$ty>(),
                align: align_of::<$ty>(),
                kind: Kind::Primitive,
                args: &[],
                id: TypeId::of::<$ty>(),
            }
        }
    };
}

macro_rules! number {
    ($($ty:ident)*) => { $(
        // SAFETY: a number means the same everywhere; every pattern is one.
        unsafe impl ShmSafe for $ty {
            const ANY_BITS: bool = true;
            type Parts = ();
            plain_members!();
            fn type_info() -> &'static TypeInfo {
                primitive_info!($ty, stringify!($ty))
            }
            #[inline]
            unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
        }
    )* };
}
number!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);

/// The same type under another name: `usize` is described as `u64`, since only 64-bit hosts share segments.
macro_rules! same_as {
    ($($ty:ident = $as:ident, $parts:ty;)*) => { $(
        // SAFETY: 64-bit hosts only (checked at compile time), so both have one layout.
        unsafe impl ShmSafe for $ty {
            const ANY_BITS: bool = <$as as ShmSafe>::ANY_BITS;
            type Parts = $parts;
            plain_members!();
            fn type_info() -> &'static TypeInfo {
                <$as as ShmSafe>::type_info()
            }
            #[inline]
            unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
                // SAFETY: one layout, and as the caller says.
                unsafe { <$as as ShmSafe>::visit(this.cast(), visitor) }
            }
        }
    )* };
}

use std::num::*;
use std::sync::atomic::*;

same_as! {
    usize = u64, ();
    isize = i64, ();
    AtomicUsize = AtomicU64, Interior;
    AtomicIsize = AtomicI64, Interior;
    NonZeroUsize = NonZeroU64, ();
    NonZeroIsize = NonZeroI64, ();
}

macro_rules! atomic {
    ($($ty:ident)*) => { $(
        // SAFETY: a number, changed only through atomic operations while shared.
        unsafe impl ShmSafe for $ty {
            const ANY_BITS: bool = true;
            type Parts = Interior;
            plain_members!();
            fn type_info() -> &'static TypeInfo {
                primitive_info!($ty, stringify!($ty))
            }
            #[inline]
            unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
        }
    )* };
}
atomic!(AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicI8 AtomicI16 AtomicI32 AtomicI64);

/// Types of which some bit patterns are no values: `$check` looks at the raw bits.
macro_rules! checked {
    ($($ty:ident, $bits:ty, $parts:ty, $check:expr, $what:literal;)*) => { $(
        // SAFETY: no address inside; patterns that are no values are reported.
        unsafe impl ShmSafe for $ty {
            const ANY_BITS: bool = false;
            type Parts = $parts;
            plain_members!();
            fn type_info() -> &'static TypeInfo {
                primitive_info!($ty, stringify!($ty))
            }
            #[inline]
            unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
                let valid: fn($bits) -> bool = $check;
                // SAFETY: readable and aligned by the caller; any bits are a `$bits`.
                if !valid(unsafe { this.cast::<$bits>().read() }) {
                    visitor.invalid(this.cast(), $what);
                }
            }
        }
    )* };
}
checked! {
    bool, u8, (), |b| b <= 1, "a bool that is neither 0 nor 1";
    AtomicBool, u8, Interior, |b| b <= 1, "a bool that is neither 0 nor 1";
    char, u32, (), |c| char::from_u32(c).is_some(), "a char that is no Unicode scalar value";
    NonZeroU8, u8, (), |n| n != 0, "a zero in a NonZero";
    NonZeroU16, u16, (), |n| n != 0, "a zero in a NonZero";
    NonZeroU32, u32, (), |n| n != 0, "a zero in a NonZero";
    NonZeroU64, u64, (), |n| n != 0, "a zero in a NonZero";
    NonZeroU128, u128, (), |n| n != 0, "a zero in a NonZero";
    NonZeroI8, u8, (), |n| n != 0, "a zero in a NonZero";
    NonZeroI16, u16, (), |n| n != 0, "a zero in a NonZero";
    NonZeroI32, u32, (), |n| n != 0, "a zero in a NonZero";
    NonZeroI64, u64, (), |n| n != 0, "a zero in a NonZero";
    NonZeroI128, u128, (), |n| n != 0, "a zero in a NonZero";
}

// SAFETY: it has no bytes.
unsafe impl ShmSafe for () {
    const ANY_BITS: bool = true;
    type Parts = ();
    plain_members!();
    fn type_info() -> &'static TypeInfo {
        primitive_info!((), "()")
    }
    #[inline]
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}

// SAFETY: it has no bytes; its argument counts for its identity.
unsafe impl<T: ShmSafe> ShmSafe for PhantomData<T> {
    const ANY_BITS: bool = true;
    type Parts = Reach<T>;
    plain_members!();
    fn type_info() -> &'static TypeInfo {
        const {
            &TypeInfo {
                name: "PhantomData",
                origin: Origin::Builtin,
                version: 0,
                size: 0,
                align: 1,
                kind: Kind::Builtin,
                args: &[super::GenericArg::Type(T::type_info)],
                id: TypeId::of::<PhantomData<T>>(),
            }
        }
    }
    #[inline]
    unsafe fn visit(_: *const Self, _: &mut Visitor<'_>) {}
}
