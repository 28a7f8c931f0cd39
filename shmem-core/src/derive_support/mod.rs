//! What the code that `#[derive(ShmSafe)]` writes refers to. No part of the API.
//!
//! This file needs `unsafe`: it builds fields in place and finds the segment of a value being dropped.

mod enums;

pub use enums::{
    EnumLayout, Place, Tag, c_int, check_place, field_at, field_at_mut, no_variant, other_variant,
    pod_checked, room_with_tag, set_tag, tag, unused_tag, vacate, view_movable,
};

pub use crate::layout::mirror::{OwnTwin, Twin};

use crate::access::{Access, MAX_ALIGN};
use crate::error::Result;
use crate::layout::{ConstArg, Init, ShmSafe};
use crate::mapping::registry;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

pub use crate::segment::roots;
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

/// Types of fields in a bound on an auto trait. A type of this crate, so that nobody else can implement one for it;
/// the lifetime makes the compiler accept a bound that may be plainly false.
pub struct Fields<'a, T>(PhantomData<&'a ()>, T);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::init::replace;
    use crate::testing::TestSegment;
    use crate::{ShmDrop, ShmSafe};
    use std::cell::RefCell;
    use std::ptr::NonNull;

    thread_local! {
        /// The segments that destructors found.
        static FOUND: RefCell<Vec<(u64, crate::access::SegmentId)>> = const { RefCell::new(Vec::new()) };
    }

    #[derive(ShmSafe)]
    #[shm(drop)]
    #[repr(C)]
    struct Closing {
        id: u64,
        finder: Finder,
    }

    impl ShmDrop for Closing {
        fn drop(this: ClosingMut<'_>) {
            FOUND.with_borrow_mut(|found| found.push((*this.id, this.finder.0.context().id())));
        }
    }

    /// Its view is its access.
    #[repr(C)]
    struct Finder;
    struct FinderMut<'a>(Access<'a>);

    // SAFETY: it has no bytes.
    unsafe impl ShmSafe for Finder {
        const PLAIN: bool = true;
        const ANY_BITS: bool = true;
        type Parts = ();
        type Mut<'a> = FinderMut<'a>;
        unsafe fn view<'a>(_: NonNull<Self>, access: Access<'a>) -> FinderMut<'a> {
            FinderMut(access)
        }
        unsafe fn relocate(_: *mut Self, _: *mut Self) {}
        fn type_info() -> &'static crate::TypeInfo {
            <()>::type_info()
        }
        unsafe fn visit(_: *const Self, _: &mut crate::Visitor<'_>) {}
    }

    #[derive(ShmSafe)]
    #[repr(C)]
    struct Two {
        one: Closing,
        two: Closing,
    }

    fn closing(id: u64) -> ClosingInit<u64, Finder> {
        ClosingInit { id, finder: Finder }
    }

    /// A destructor that runs in the segment, in a scratch place, or when a later field fails, has the segment's heap;
    /// one that runs on the stack has none.
    #[test]
    fn a_destructor_finds_its_segment() {
        let segment = TestSegment::new();
        let here = segment.access().context().id();
        let mut value = segment.build::<Two>(TwoInit { one: closing(1), two: closing(2) }).unwrap();
        let at = NonNull::from(value.get());
        // SAFETY: valid, and ours alone.
        unsafe { replace(at, TwoInit { one: closing(3), two: closing(4) }, segment.access()).unwrap() };
        assert_eq!(FOUND.take(), [(1, here), (2, here)]);
        let failing =
            TwoInit { one: closing(5), two: crate::init::with(|_| Err(crate::Error::OtherSegment)) };
        // SAFETY: as above.
        assert!(unsafe { replace(at, failing, segment.access()) }.is_err());
        assert_eq!(FOUND.take(), [(5, here)]);
        *value.view().one.id = 6;
        drop(value);
        assert_eq!(FOUND.take(), [(6, here), (4, here)]);
        drop(Closing { id: 7, finder: Finder });
        assert_eq!(FOUND.take(), [(7, Access::detached().context().id())]);
    }

    /// As [`Closing`], for a key.
    #[derive(ShmSafe)]
    #[shm(drop, hash)]
    #[repr(C)]
    struct Key {
        id: u64,
        finder: Finder,
    }

    impl ShmDrop for Key {
        fn drop(this: KeyMut<'_>) {
            FOUND.with_borrow_mut(|found| found.push((*this.id, this.finder.0.context().id())));
        }
    }

    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.id == other.id
        }
    }

    impl Eq for Key {}

    impl crate::ShmHash for Finder {
        fn shm_hash(&self, _: &mut crate::ShmHasher) {}
    }

    /// A key that was built only to be looked up is dropped outside its segment, and finds it all the same.
    #[test]
    fn a_key_that_is_not_needed_finds_its_segment() {
        use crate::ShmHashMap;
        let segment = TestSegment::new();
        let here = segment.access().context().id();
        let key = || KeyInit { id: 1, finder: Finder };
        let mut value = segment.build::<ShmHashMap<Key, u64>>([(key(), 1)]).unwrap();
        assert!(!value.view().insert(key(), 2).unwrap());
        assert_eq!(FOUND.take(), [(1, here)]);
        assert!(value.view().entry(key()).is_ok());
        assert_eq!(FOUND.take(), [(1, here)]);
        drop(value);
        assert_eq!(FOUND.take(), [(1, here)]);
    }
}
