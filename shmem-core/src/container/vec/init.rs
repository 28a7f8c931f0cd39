//! Initialisers of a [`ShmVec`].
//!
//! This file needs `unsafe`: it writes uninitialised slots.

use super::{ShmVec, VecMut, store};
use crate::access::Access;
use crate::error::Result;
use crate::layout::init::{FromIter, Init, from_iter};
use crate::layout::mirror::{Mirror, MirrorIter, MirrorType};
use crate::layout::{ShmDefault, ShmSafe};
use crate::ptr::OffsetPtr;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::slice;

/// Initialiser of an empty [`ShmVec`]: see [`ShmVec::new`] and [`ShmVec::with_capacity`].
pub struct EmptyVec<T> {
    capacity: usize,
    _element: PhantomData<fn() -> T>,
}

impl<T> Clone for EmptyVec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for EmptyVec<T> {}

impl<T> std::fmt::Debug for EmptyVec<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmptyVec").field("capacity", &self.capacity).finish()
    }
}

impl<T: ShmSafe> ShmVec<T> {
    /// An initialiser of an empty vector, which allocates nothing.
    #[expect(clippy::new_ret_no_self, reason = "a vector is built in place, so `new` gives its initialiser")]
    #[inline]
    pub const fn new() -> EmptyVec<T> {
        Self::with_capacity(0)
    }

    /// An initialiser of an empty vector with room for at least `capacity` elements.
    #[inline]
    pub const fn with_capacity(capacity: usize) -> EmptyVec<T> {
        EmptyVec { capacity, _element: PhantomData }
    }

    /// An initialiser that copies a slice; the slice itself is one too.
    #[inline]
    pub fn from_slice(elements: &[T]) -> impl Init<ShmVec<T>> + '_
    where
        T: Copy,
    {
        elements
    }
}

/// Writes an empty vector without a block.
///
/// # Safety
/// 1. `slot` is valid for writes and aligned.
unsafe fn empty<T: ShmSafe>(slot: *mut ShmVec<T>) {
    // SAFETY: 1.
    unsafe {
        OffsetPtr::store(&raw mut (*slot).ptr, ptr::null_mut());
        store(&raw mut (*slot).cap, 0);
        store(&raw mut (*slot).len, 0);
    }
}

/// Writes an empty vector and fills it; if that fails or panics, it is dropped.
///
/// # Safety
/// 1. `slot` is valid for writes, aligned, and nobody else uses it; it is, or will be, in the segment of `access`.
unsafe fn build<T: ShmSafe>(
    slot: *mut ShmVec<T>,
    access: Access<'_>,
    fill: impl FnOnce(&mut VecMut<'_, T>) -> Result<()>,
) -> Result<()> {
    struct Whole<T: ShmSafe>(*mut ShmVec<T>);
    impl<T: ShmSafe> Drop for Whole<T> {
        fn drop(&mut self) {
            // SAFETY: a valid vector that nobody knows.
            unsafe { self.0.drop_in_place() }
        }
    }
    // SAFETY: 1.
    unsafe { empty(slot) };
    let whole = Whole(slot);
    // SAFETY: 1: a valid vector now, and ours; a slot is never null.
    fill(&mut unsafe { VecMut::new(NonNull::new_unchecked(slot), access) })?;
    let _ = ManuallyDrop::new(whole);
    Ok(())
}

// SAFETY: 1: an empty vector. 2: `build` drops what there is. 3: only the slot and its block.
unsafe impl<T: ShmSafe> Init<ShmVec<T>> for EmptyVec<T> {
    #[inline]
    unsafe fn init(self, slot: *mut ShmVec<T>, access: Access<'_>) -> Result<()> {
        if self.capacity == 0 {
            // SAFETY: by the caller.
            unsafe { empty(slot) };
            return Ok(());
        }
        // SAFETY: by the caller.
        unsafe { build(slot, access, |vec| vec.reserve_exact(self.capacity)) }
    }
}

impl<T: ShmSafe> ShmDefault for ShmVec<T> {
    /// Empty.
    #[inline]
    fn shm_default() -> impl Init<Self> {
        ShmVec::new()
    }
}

// SAFETY: 1: a vector of the elements. 2: `build` drops what there is. 3: only the slot and blocks of its own.
unsafe impl<T: ShmSafe, A: Init<T>, const N: usize> Init<ShmVec<T>> for [A; N] {
    unsafe fn init(self, slot: *mut ShmVec<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            build(slot, access, |vec| {
                vec.reserve_exact(N)?;
                vec.extend(self)
            })
        }
    }
}

// SAFETY: as for an array.
unsafe impl<T: ShmSafe, A: Init<T>> Init<ShmVec<T>> for Vec<A> {
    unsafe fn init(self, slot: *mut ShmVec<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            build(slot, access, |vec| {
                vec.reserve_exact(self.len())?;
                vec.extend(self)
            })
        }
    }
}

// SAFETY: as for an array; the iterator is not trusted.
unsafe impl<T: ShmSafe, I: Iterator<Item: Init<T>>> Init<ShmVec<T>> for FromIter<I> {
    unsafe fn init(self, slot: *mut ShmVec<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { build(slot, access, |vec| vec.extend(self.0)) }
    }
}

// SAFETY: as for an array.
unsafe impl<T: ShmSafe + Copy> Init<ShmVec<T>> for &[T] {
    unsafe fn init(self, slot: *mut ShmVec<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe {
            build(slot, access, |vec| {
                vec.reserve_exact(self.len())?;
                vec.extend_from_slice(self)
            })
        }
    }
}

/// What gives a slice of `Copy` values is copied as the slice.
macro_rules! as_slice {
    ($([$($generic:tt)*] $ty:ty;)*) => { $(
        // SAFETY: as for the slice.
        unsafe impl<T: ShmSafe + Copy, $($generic)*> Init<ShmVec<T>> for $ty {
            #[inline]
            unsafe fn init(self, slot: *mut ShmVec<T>, access: Access<'_>) -> Result<()> {
                // SAFETY: by the caller.
                unsafe { self.as_slice().init(slot, access) }
            }
        }
    )* };
}
as_slice! {
    [const N: usize] &[T; N];
    [] &Vec<T>;
    [] &ShmVec<T>;
}

impl<T: MirrorType> MirrorType for Vec<T> {
    type Shm = ShmVec<T::Shm>;
}

impl<T: Mirror> Mirror for Vec<T> {
    type Init<'a>
        = FromIter<MirrorIter<'a, slice::Iter<'a, T>, T>>
    where
        T: 'a;
    fn mirror(&self) -> Self::Init<'_> {
        from_iter(self.iter().map(T::mirror as fn(&T) -> T::Init<'_>))
    }
    fn to_native(shm: &ShmVec<T::Shm>) -> Self {
        shm.iter().map(T::to_native).collect()
    }
}
