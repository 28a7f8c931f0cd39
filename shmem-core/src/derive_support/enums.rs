//! Tags, places and views of enums.
//!
//! This file needs `unsafe`: it reads and writes parts of values by their places.

use crate::access::{Access, MAX_ALIGN};
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::layout::init::{Init, replace};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::*;

/// What a tag can be.
pub trait Tag: Copy {
    /// Stores the tag after everything that was written before.
    ///
    /// # Safety
    /// 1. `at` is valid for writes, aligned, and the caller's alone.
    unsafe fn publish(self, at: *mut Self);
}

macro_rules! tag {
    ($($ty:ident $atomic:ident;)*) => { $(impl Tag for $ty {
        #[inline(always)]
        unsafe fn publish(self, at: *mut Self) {
            // SYNC publish: Release, so that the fields are there before the tag that shows them.
            // SAFETY: 1.
            unsafe { $atomic::from_ptr(at) }.store(self, Ordering::Release);
        }
    })* };
}
tag! {
    u8 AtomicU8; u16 AtomicU16; u32 AtomicU32; u64 AtomicU64; usize AtomicUsize;
    i8 AtomicI8; i16 AtomicI16; i32 AtomicI32; i64 AtomicI64; isize AtomicIsize;
}

/// The tag of the enum at `at`, whatever it is.
///
/// # Safety
/// 1. `at` is aligned and readable; an enum with a tag of type `T` stands there, or damaged bytes do.
#[inline(always)]
pub unsafe fn tag<T: Tag, E>(at: *const E) -> T {
    // SAFETY: 1: the tag comes first, and is a number.
    unsafe { at.cast::<T>().read() }
}

/// Stores the tag of the enum at `at`, after everything that was written before.
///
/// # Safety
/// 1. `at` is aligned and valid for writes, and the caller's alone; `E` has a tag of type `T`.
/// 2. The fields that go with the tag are there, or the tag has none.
#[inline(always)]
pub unsafe fn set_tag<T: Tag, E>(at: *mut E, tag: T) {
    // SAFETY: 1: the tag comes first.
    unsafe { tag.publish(at.cast()) }
}

/// Stores the tag that the enum at `at` has while its fields change, before anything that is written after.
///
/// # Safety
/// 1. As [`set_tag`], 1. The tag is a variant's without fields, or no variant's.
#[inline(always)]
pub unsafe fn vacate<T: Tag, E>(at: *mut E, tag: T) {
    // SAFETY: 1; nothing goes with the tag.
    unsafe { set_tag(at, tag) };
    // CRASH vacate: from here until the new tag is stored a death leaves a variant without fields, or a tag that is no
    // variant's. A lock around the value is poisoned by it; who looks all the same is told by `visit` before there is a
    // reference (`enums::a_hundred_processes_killed_while_they_set`). What the old fields owned is leaked.
    // SYNC vacate: no field is written before the tag hides it. A kill leaves a prefix in program order, so the
    // compiler's order is all it takes.
    compiler_fence(Ordering::SeqCst);
}

/// A field of a variant, `offset` bytes from the enum's start.
///
/// # Safety
/// 1. `at` points to an enum (or to room for one) that has a field of type `F` there in one of its variants.
#[inline(always)]
pub unsafe fn field_at_mut<E, F>(at: *mut E, offset: usize) -> *mut F {
    // SAFETY: 1: inside the enum.
    unsafe { at.cast::<u8>().add(offset).cast() }
}

/// As [`field_at_mut`], for reading.
///
/// # Safety
/// As for `field_at_mut`.
#[inline(always)]
pub unsafe fn field_at<E, F>(at: *const E, offset: usize) -> *const F {
    // SAFETY: 1: inside the enum.
    unsafe { at.cast::<u8>().add(offset).cast() }
}

/// A tag was none of the enum's variants': the bytes were damaged after they had been checked.
#[cold]
pub fn no_variant() -> ! {
    panic!("shmem: the tag of an enum is none of its variants'")
}

/// A discriminant of a `repr(C)` enum, whose tag is a C `int`.
///
/// # Panics
/// If it is none: at compile time.
pub const fn c_int(discriminant: isize) -> i32 {
    assert!(
        discriminant as i32 as isize == discriminant,
        "a discriminant of a `repr(C)` enum in shared memory is a C int, of 32 bits: use `repr(i64)`"
    );
    discriminant as i32
}

/// A number from `least` to `most` that is not among `tags`: from -1 downwards if there are negative ones, then from 0
/// upwards.
///
/// # Panics
/// If there is none: at compile time.
pub const fn unused_tag(tags: &[i128], least: i128, most: i128) -> i128 {
    const fn is_among(tags: &[i128], wanted: i128) -> bool {
        let mut i = 0;
        while i < tags.len() {
            if tags[i] == wanted {
                return true;
            }
            i += 1;
        }
        false
    }
    let mut below = -1;
    while below >= least {
        if !is_among(tags, below) {
            return below;
        }
        below -= 1;
    }
    let mut candidate = 0;
    while is_among(tags, candidate) {
        candidate += 1;
    }
    assert!(
        candidate <= most,
        "every tag is taken, but one must be left for a value whose fields change: use a larger `repr`, or a variant without fields"
    );
    candidate
}

/// What the language says of an enum's layout: RFC 2195.
#[derive(Debug)]
pub struct EnumLayout {
    /// The size of the tag in bytes, and its alignment.
    pub tag_size: usize,
    /// Whether the fields follow the tag in a union of structs (`repr(C)`), or each variant is a struct that begins with
    /// the tag.
    pub union_after_tag: bool,
    /// Size and alignment of each variant's fields.
    pub variants: &'static [&'static [(usize, usize)]],
}

impl EnumLayout {
    /// Where the fields of a variant begin.
    const fn start(&self) -> usize {
        if !self.union_after_tag {
            return self.tag_size;
        }
        // The union is aligned to its most aligned variant.
        self.tag_size.next_multiple_of(self.field_align())
    }

    /// The alignment of the most aligned field.
    const fn field_align(&self) -> usize {
        let (mut align, mut v) = (1, 0);
        while v < self.variants.len() {
            let mut f = 0;
            while f < self.variants[v].len() {
                if self.variants[v][f].1 > align {
                    align = self.variants[v][f].1;
                }
                f += 1;
            }
            v += 1;
        }
        align
    }

    /// Where the `N` fields of a variant stand, in bytes from the enum's start.
    pub const fn places<const N: usize>(&self, variant: usize) -> [usize; N] {
        let mut places = [0; N];
        let (mut end, mut f) = (self.start(), 0);
        while f < N {
            let (size, align) = self.variants[variant][f];
            places[f] = end.next_multiple_of(align);
            end = places[f] + size;
            f += 1;
        }
        places
    }

    /// Compares the layout with what the compiler made of it.
    ///
    /// # Panics
    /// If they differ: at compile time.
    pub const fn check(&self, size: usize, align: usize) {
        assert!(align <= MAX_ALIGN, "the alignment of a type in shared memory is at most 4096 bytes");
        let least_align = if self.tag_size > self.field_align() { self.tag_size } else { self.field_align() };
        let (mut end, mut v) = (self.start(), 0);
        while v < self.variants.len() {
            let (mut variant_end, mut f) = (self.start(), 0);
            while f < self.variants[v].len() {
                let (size, align) = self.variants[v][f];
                variant_end = variant_end.next_multiple_of(align) + size;
                f += 1;
            }
            if variant_end > end {
                end = variant_end;
            }
            v += 1;
        }
        // `align(…)` may ask for more.
        let unaligned = end.next_multiple_of(least_align);
        assert!(
            align >= least_align && size == unaligned.next_multiple_of(align),
            "the enum is not laid out as its `repr` says (was the `repr` changed by another attribute?)"
        );
    }
}

/// Room for an enum in which only the tag is set; to be asked, at compile time, what the compiler makes of it.
///
/// # Safety
/// 1. The room has the size and alignment of a tag of type `T` at least.
pub const unsafe fn room_with_tag<T: Tag, E>(room: &mut MaybeUninit<E>, tag: T) -> *const E {
    let at = room.as_mut_ptr();
    // SAFETY: 1.
    unsafe { at.cast::<T>().write(tag) };
    at
}

/// Compares where the compiler has a field of the enum at `at` with where its `repr` puts it.
///
/// # Panics
/// If it is elsewhere: at compile time.
///
/// # Safety
/// 1. `field` points to a field of the enum at `at`.
pub const unsafe fn check_place<E, F>(at: *const E, field: *const F, place: usize) {
    // SAFETY: 1: both in one object.
    let found = unsafe { field.cast::<u8>().offset_from(at.cast::<u8>()) };
    assert!(
        found == place as isize,
        "the enum is not laid out as its `repr` says (was the `repr` changed by another attribute?)"
    );
}

/// A tag is another variant's than the derive saw.
///
/// # Panics
/// Always: at compile time.
pub const fn other_variant() -> ! {
    panic!("a variant has another discriminant than the derive saw (was it changed by another attribute?)")
}

/// What the view of an enum is made of: a unique reference to the value, and access to its segment.
#[derive(Debug)]
pub struct Place<'a, T> {
    at: NonNull<T>,
    access: Access<'a>,
    _value: PhantomData<&'a mut T>,
}

// SAFETY: it is a unique reference to the value; its context holds no thread's state.
unsafe impl<T: Send> Send for Place<'_, T> {}
// SAFETY: shared, it only gives `&T`.
unsafe impl<T: Sync> Sync for Place<'_, T> {}

impl<'a, T: ShmSafe> Place<'a, T> {
    /// # Safety
    /// 1. As for [`ShmSafe::view`].
    #[inline]
    pub unsafe fn new(at: NonNull<T>, access: Access<'a>) -> Self {
        Place { at, access, _value: PhantomData }
    }

    /// Where the value stands, and access to its segment.
    #[inline]
    pub fn parts(&mut self) -> (NonNull<T>, Access<'a>) {
        (self.at, self.access)
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &T {
        // SAFETY: valid, and no view of its fields is alive while `self` is borrowed.
        unsafe { self.at.as_ref() }
    }

    /// The value, for writing.
    ///
    /// # Safety
    /// 1. `T` is movable.
    #[inline]
    pub unsafe fn value_mut(&mut self) -> &mut T {
        // SAFETY: as the caller of `new` says; movable by 1.
        unsafe { view_movable(self.at, self.access) }
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`](crate::Error::LockHeld); the old value stays.
    pub fn set(&mut self, init: impl Init<T>) -> Result<()> {
        // SAFETY: valid and exclusively ours.
        unsafe { replace(self.at, init, self.access) }
    }
}

/// The view of a movable value: a `&mut`.
///
/// # Safety
/// 1. As for [`ShmSafe::view`].
/// 2. The value is movable: swapping two of them is harmless.
#[inline]
pub unsafe fn view_movable<'a, T>(mut at: NonNull<T>, access: Access<'a>) -> &'a mut T {
    // SAFETY: readable; a `&mut` to it is about to be handed out.
    unsafe { access.save_value(at.as_ptr()) };
    // SAFETY: 1 and 2.
    unsafe { at.as_mut() }
}

/// `true`, for a type that is nothing but its bytes.
pub const fn pod_checked<T: bytemuck::Pod + Send + Unpin>() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_not_used() {
        assert_eq!(unused_tag(&[0, 1, 2], 0, 255), 3);
        assert_eq!(unused_tag(&[1, 2], 0, 255), 0);
        assert_eq!(unused_tag(&[0, -1, -2, 5], -128, 127), -3);
        assert_eq!(unused_tag(&[-1, -2, 0], -2, 1), 1);
        let all: Vec<i128> = (0..256).collect();
        assert!(std::panic::catch_unwind(|| unused_tag(&all, 0, 255)).is_err());
    }

    /// RFC 2195 by hand.
    #[test]
    fn places_follow_the_language() {
        const FIELDS: &[&[(usize, usize)]] = &[&[], &[(1, 1), (8, 8), (2, 2)], &[(4, 4)]];
        let own = EnumLayout { tag_size: 2, union_after_tag: false, variants: FIELDS };
        assert_eq!((own.places::<3>(1), own.places::<1>(2)), ([2, 8, 16], [4]));
        own.check(24, 8);
        let of_c = EnumLayout { union_after_tag: true, ..own };
        assert_eq!((of_c.places::<3>(1), of_c.places::<1>(2)), ([8, 16, 24], [8]));
        of_c.check(32, 8);
        of_c.check(64, 64);
        assert!(std::panic::catch_unwind(|| of_c.check(24, 8)).is_err());
    }

    #[allow(dead_code)]
    #[repr(C, u8)]
    enum OfC {
        A(u8) = 3,
        B(u16),
    }

    /// What an attribute may make of `repr(u8)` after the derive saw it: size and alignment stay.
    #[test]
    #[should_panic(expected = "not laid out as its `repr` says")]
    fn a_field_elsewhere_is_found() {
        let as_derived =
            EnumLayout { tag_size: 1, union_after_tag: false, variants: &[&[(1, 1)], &[(2, 2)]] };
        as_derived.check(size_of::<OfC>(), align_of::<OfC>());
        let mut room = MaybeUninit::<OfC>::zeroed();
        // SAFETY: the tag is a byte.
        let at = unsafe { room_with_tag::<u8, _>(&mut room, 3) };
        // SAFETY: zeroed, with the tag of a variant of a number.
        match unsafe { &*at } {
            // SAFETY: its field.
            OfC::A(field) => unsafe { check_place(at, field, as_derived.places::<1>(0)[0]) },
            OfC::B(_) => other_variant(),
        }
    }
}
