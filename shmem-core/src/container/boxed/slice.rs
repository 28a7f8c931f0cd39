//! [`ShmBoxSlice`]: a fixed number of values in a block of their own.
//!
//! This file needs `unsafe`: it implements an unsafe trait and reads the block.

use super::{Block, stored};
use crate::access::Access;
use crate::container::drop_queue::destroy_block;
use crate::container::vec::{ShmVec, VecIterMut, store};
use crate::error::Result;
use crate::layout::init::{FromIter, Init, Partial, replace};
use crate::layout::mirror::{Mirror, MirrorType};
use crate::layout::{Reach, ShmDefault, ShmHash, ShmHasher, ShmSafe, TypeInfo, Visitor, relocate_many};
use crate::ptr::OffsetPtr;
use std::borrow::Borrow;
use std::cmp;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};
use std::ops::{Deref, Index, IndexMut};
use std::ptr::{self, NonNull};
use std::slice::{self, SliceIndex};

/// A fixed number of values in a block of their own: `Box<[T]>`, in 16 bytes.
///
/// It is built from an array, a `Vec`, a slice of `Copy` values, [`from_fn`](Self::from_fn) or
/// [`init::from_iter`](crate::init::from_iter), and its elements are written through its view, [`BoxSliceMut`].
/// Dropping it is as dropping a [`ShmVec`].
///
/// # Invariants
/// 1. If `len > 0` and `T` has a size, `ptr` leads to a block of its own that holds `len` values. Else there is no
///    block and `ptr` is not followed.
#[doc(alias = "unique_ptr")]
#[repr(C)]
pub struct ShmBoxSlice<T: ShmSafe> {
    ptr: OffsetPtr<T>,
    len: u64,
}

const _: () = {
    assert!(size_of::<ShmBoxSlice<u8>>() == 16 && align_of::<ShmBoxSlice<u8>>() == 8);
    assert!(offset_of!(ShmBoxSlice<u8>, ptr) == 0);
    assert!(offset_of!(ShmBoxSlice<u8>, len) == 8);
};

// SAFETY: it owns its elements, which are `Send`; whoever drops it finds the heap by address.
unsafe impl<T: ShmSafe> Send for ShmBoxSlice<T> {}
// SAFETY: shared, it only gives `&[T]`.
unsafe impl<T: ShmSafe + Sync> Sync for ShmBoxSlice<T> {}

// SAFETY: 1, 9: two fixed words, the pointer self-relative. 2: not plain, and `OffsetPtr` is not `Unpin`. 3, 5: the
// elements stand in a block of their own. 6: see `BoxSliceMut`. 7, 8: see the methods. 10: see `Drop`.
unsafe impl<T: ShmSafe> ShmSafe for ShmBoxSlice<T> {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = Reach<T>;
    type Mut<'a> = BoxSliceMut<'a, T>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> BoxSliceMut<'a, T> {
        BoxSliceMut { at, access, _slice: PhantomData }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller. An old value at `to` is emptied before its pointer is replaced.
        unsafe {
            let len = (*from).len;
            let first = if len == 0 { ptr::null_mut() } else { (*from).ptr.as_ptr() };
            store(&raw mut (*to).len, 0);
            OffsetPtr::store(&raw mut (*to).ptr, first);
            store(&raw mut (*to).len, len);
        }
    }

    fn type_info() -> &'static TypeInfo {
        builtin_info!(ShmBoxSlice<T>, "ShmBoxSlice", T)
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller; any bits are a number.
        let len = unsafe { (&raw const (*this).len).read() } as usize;
        if len > 0 && size_of::<T>() > 0 {
            // SAFETY: readable by the caller.
            unsafe { visitor.own(&raw const (*this).ptr, len, len) }
        }
    }
}

/// Publishes a block as the boxed slice at `slot`.
///
/// # Safety
/// 1. `slot` is valid for writes and uninitialised. 2. `first` is an own block of `len` values, or dangling.
unsafe fn publish<T: ShmSafe>(slot: *mut ShmBoxSlice<T>, first: NonNull<T>, len: usize) {
    // SAFETY: by the caller.
    unsafe {
        let first = if len == 0 { ptr::null_mut() } else { stored(first) };
        OffsetPtr::store(&raw mut (*slot).ptr, first);
        store(&raw mut (*slot).len, len as u64);
    }
}

/// Builds `len` values from an iterator of our own that gives as many.
///
/// # Safety
/// 1. `slot` is valid for writes, aligned, and nobody else uses it.
unsafe fn build<T: ShmSafe>(
    slot: *mut ShmBoxSlice<T>,
    access: Access<'_>,
    len: usize,
    items: impl Iterator<Item: Init<T>>,
) -> Result<()> {
    let block = Block::<T>::allocate(len, access)?;
    let mut partial = Partial::new(block.first.as_ptr());
    for item in items.take(len) {
        // SAFETY: the block has room for `len` values.
        unsafe { partial.push(item, access)? };
    }
    let built = partial.finish();
    debug_assert_eq!(built, len);
    // SAFETY: 1; the block holds that many values.
    unsafe { publish(slot, block.keep(), built) };
    Ok(())
}

/// Initialiser of a [`ShmBoxSlice`]: see [`ShmBoxSlice::from_fn`].
#[derive(Debug, Clone)]
pub struct BoxSliceFromFn<T, F> {
    len: usize,
    make: F,
    _element: PhantomData<fn() -> T>,
}

// SAFETY: 1: a slice of the values. 2: `build` drops and gives back. 3: only the slot and blocks of its own.
unsafe impl<T: ShmSafe, I: Init<T>, F: FnMut(usize) -> I> Init<ShmBoxSlice<T>> for BoxSliceFromFn<T, F> {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { build(slot, access, self.len, (0..self.len).map(self.make)) }
    }
}

// SAFETY: as for `BoxSliceFromFn`.
unsafe impl<T: ShmSafe, A: Init<T>, const N: usize> Init<ShmBoxSlice<T>> for [A; N] {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { build(slot, access, N, self.into_iter()) }
    }
}

// SAFETY: as for `BoxSliceFromFn`.
unsafe impl<T: ShmSafe, A: Init<T>> Init<ShmBoxSlice<T>> for Vec<A> {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { build(slot, access, self.len(), self.into_iter()) }
    }
}

// SAFETY: 1: a slice of the values. 2: the vector drops itself, the block goes back. 3: only the slot and such blocks.
unsafe impl<T: ShmSafe, I: Iterator<Item: Init<T>>> Init<ShmBoxSlice<T>> for FromIter<I> {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, access: Access<'_>) -> Result<()> {
        struct Whole<T: ShmSafe>(*mut ShmVec<T>);
        impl<T: ShmSafe> Drop for Whole<T> {
            fn drop(&mut self) {
                // SAFETY: a valid vector that nobody else knows.
                unsafe { self.0.drop_in_place() }
            }
        }
        // The iterator cannot be trusted about its length, so it fills a vector first. That stands on the stack and
        // is not moved.
        let mut vec = MaybeUninit::<ShmVec<T>>::uninit();
        // SAFETY: the place is ours.
        unsafe { Init::<ShmVec<T>>::init(self, vec.as_mut_ptr(), access)? };
        let whole = Whole(vec.as_mut_ptr());
        // SAFETY: initialised above, and ours.
        let mut view = unsafe { ShmVec::view(NonNull::new_unchecked(whole.0), access) };
        let len = view.len();
        let block = Block::<T>::allocate(len, access)?;
        // SAFETY: the block has room for the elements, which were built just now (no lock is held); the vector
        // forgets them.
        unsafe {
            relocate_many(view.as_slice().as_ptr().cast_mut(), block.first.as_ptr(), len);
            view.forget_elements();
            publish(slot, block.keep(), len);
        }
        Ok(())
    }
}

// SAFETY: 1: a copy of the values. 2: nothing can fail behind the allocation. 3: only the slot and its block.
unsafe impl<T: ShmSafe + Copy> Init<ShmBoxSlice<T>> for &[T] {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, access: Access<'_>) -> Result<()> {
        let block = Block::<T>::allocate(self.len(), access)?;
        // SAFETY: the block has room; `Copy` values are their bytes.
        unsafe {
            ptr::copy_nonoverlapping(self.as_ptr(), block.first.as_ptr(), self.len());
            publish(slot, block.keep(), self.len());
        }
        Ok(())
    }
}

// SAFETY: as for the slice.
unsafe impl<T: ShmSafe + Copy> Init<ShmBoxSlice<T>> for &ShmBoxSlice<T> {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { self.as_slice().init(slot, access) }
    }
}

struct Empty;

// SAFETY: 1: no values. 2: it cannot fail. 3: only the slot.
unsafe impl<T: ShmSafe> Init<ShmBoxSlice<T>> for Empty {
    unsafe fn init(self, slot: *mut ShmBoxSlice<T>, _: Access<'_>) -> Result<()> {
        // SAFETY: the slot is valid for writes; there is no block.
        unsafe { publish(slot, NonNull::dangling(), 0) };
        Ok(())
    }
}

impl<T: ShmSafe> ShmDefault for ShmBoxSlice<T> {
    /// Empty.
    fn shm_default() -> impl Init<Self> {
        Empty
    }
}

impl<T: ShmSafe> ShmBoxSlice<T> {
    /// An initialiser of `len` values, each built by what `make` gives for its index.
    pub fn from_fn<I: Init<T>, F: FnMut(usize) -> I>(len: usize, make: F) -> BoxSliceFromFn<T, F> {
        BoxSliceFromFn { len, make, _element: PhantomData }
    }

    #[inline]
    fn first(&self) -> *mut T {
        if size_of::<T>() == 0 || self.len == 0 { ptr::dangling_mut() } else { self.ptr.as_ptr() }
    }

    /// All elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the invariant.
        unsafe { slice::from_raw_parts(self.first(), self.len as usize) }
    }
}

impl<T: ShmSafe> Drop for ShmBoxSlice<T> {
    fn drop(&mut self) {
        let len = self.len as usize;
        if size_of::<T>() == 0 {
            // SAFETY: values without size stand anywhere; they are destroyed once, here.
            unsafe { ptr::slice_from_raw_parts_mut(self.first(), len).drop_in_place() }
        } else if len > 0
            && let Some(block) = self.ptr.get()
        {
            // SAFETY: the invariant; the slice, which owned the block, is not used any more.
            unsafe { destroy_block(block, len, len) }
        }
    }
}

impl<T: ShmSafe> Deref for ShmBoxSlice<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: ShmSafe> AsRef<[T]> for ShmBoxSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: ShmSafe> Borrow<[T]> for ShmBoxSlice<T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T: ShmSafe, I: SliceIndex<[T]>> Index<I> for ShmBoxSlice<T> {
    type Output = I::Output;
    #[inline]
    fn index(&self, i: I) -> &I::Output {
        &self.as_slice()[i]
    }
}

impl<'v, T: ShmSafe> IntoIterator for &'v ShmBoxSlice<T> {
    type Item = &'v T;
    type IntoIter = slice::Iter<'v, T>;
    fn into_iter(self) -> slice::Iter<'v, T> {
        self.iter()
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for ShmBoxSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + Hash> Hash for ShmBoxSlice<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ShmSafe + ShmHash> ShmHash for ShmBoxSlice<T> {
    /// As the slice.
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        (**self).shm_hash(hasher);
    }
}

impl<T: ShmSafe + PartialEq> PartialEq for ShmBoxSlice<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ShmSafe + PartialEq> PartialEq<[T]> for ShmBoxSlice<T> {
    fn eq(&self, other: &[T]) -> bool {
        **self == *other
    }
}

impl<T: ShmSafe + PartialEq, const N: usize> PartialEq<[T; N]> for ShmBoxSlice<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        **self == *other
    }
}

impl<T: ShmSafe + PartialEq> PartialEq<Vec<T>> for ShmBoxSlice<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        **self == **other
    }
}

impl<T: ShmSafe + Eq> Eq for ShmBoxSlice<T> {}

impl<T: ShmSafe + PartialOrd> PartialOrd for ShmBoxSlice<T> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ShmSafe + Ord> Ord for ShmBoxSlice<T> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// Exclusive access to a [`ShmBoxSlice`]: to its elements, their number is fixed. It dereferences to the boxed
/// slice, for reading.
pub struct BoxSliceMut<'a, T: ShmSafe> {
    at: NonNull<ShmBoxSlice<T>>,
    access: Access<'a>,
    _slice: PhantomData<&'a mut ShmBoxSlice<T>>,
}

// SAFETY: it is a unique reference to the slice; its context holds no thread's state.
unsafe impl<T: ShmSafe> Send for BoxSliceMut<'_, T> {}
// SAFETY: shared, it only gives `&[T]`.
unsafe impl<T: ShmSafe + Sync> Sync for BoxSliceMut<'_, T> {}

impl<T: ShmSafe> BoxSliceMut<'_, T> {
    /// The view of element `i`, `None` beyond the end.
    #[inline]
    pub fn get_mut(&mut self, i: usize) -> Option<T::Mut<'_>> {
        self.iter_mut().nth(i)
    }

    /// The views of all elements, in order.
    #[inline]
    pub fn iter_mut(&mut self) -> VecIterMut<'_, T> {
        // SAFETY: the elements are valid and, through `self`, exclusively ours.
        unsafe { VecIterMut::new(self.first(), self.len(), self.access) }
    }

    /// Replaces element `i`.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`](crate::Error::LockHeld); the old element stays.
    ///
    /// # Panics
    /// If `i` is out of range.
    ///
    /// # Crash safety
    /// CRASH replace: a process killed inside leaves the old element, the new one, or one that is memory-safe but
    /// logically incomplete.
    pub fn set(&mut self, i: usize, value: impl Init<T>) -> Result<()> {
        let len = self.len();
        assert!(i < len, "index {i} is out of range for a length of {len}");
        // SAFETY: the element is valid and exclusively ours.
        unsafe { replace(NonNull::new_unchecked(self.first().add(i)), value, self.access) }
    }

    /// All elements as a slice, which counts as overwriting them.
    pub fn as_mut_slice(&mut self) -> &mut [T]
    where
        T: Unpin,
    {
        &mut self[..]
    }
}

impl<T: ShmSafe> Deref for BoxSliceMut<'_, T> {
    type Target = ShmBoxSlice<T>;
    #[inline]
    fn deref(&self) -> &ShmBoxSlice<T> {
        // SAFETY: valid, and no view of an element is alive while `self` is borrowed.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ShmSafe, I: SliceIndex<[T]>> Index<I> for BoxSliceMut<'_, T> {
    type Output = I::Output;
    #[inline]
    fn index(&self, i: I) -> &I::Output {
        &self.as_slice()[i]
    }
}

impl<T: ShmSafe + Unpin, I: SliceIndex<[T]>> IndexMut<I> for BoxSliceMut<'_, T> {
    #[inline]
    fn index_mut(&mut self, i: I) -> &mut I::Output {
        // SAFETY: valid and exclusively ours; movable.
        let part = &mut unsafe { slice::from_raw_parts_mut(self.first(), self.len()) }[i];
        // SAFETY: readable; it is about to be handed out, and nothing has changed yet.
        unsafe { self.access.save(&raw const *part, size_of_val(part)) };
        part
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for BoxSliceMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

#[cfg(test)]
pub(crate) fn box_slice_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(ShmBoxSlice<u64> { ptr, len })
}

impl<T: MirrorType> MirrorType for Box<[T]> {
    type Shm = ShmBoxSlice<T::Shm>;
}

impl<T: Mirror> Mirror for Box<[T]> {
    type Init<'a>
        = Vec<T::Init<'a>>
    where
        T: 'a;
    fn mirror(&self) -> Self::Init<'_> {
        self.iter().map(T::mirror).collect()
    }
    fn to_native(shm: &ShmBoxSlice<T::Shm>) -> Self {
        shm.iter().map(T::to_native).collect()
    }
}
