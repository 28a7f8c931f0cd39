//! [`ShmVec`]: a growable array in shared memory.
//!
//! This file needs `unsafe`: it implements an unsafe trait and reads the vector's block.

mod init;
mod iter;
mod reorder;
#[cfg(test)]
mod tests;
mod view;

pub use init::EmptyVec;
pub use iter::VecIterMut;
pub use view::VecMut;
pub(super) use view::checked_range;

use super::drop_queue::destroy_block;
use crate::access::Access;
use crate::layout::{Reach, ShmHash, ShmHasher, ShmSafe, TypeInfo, Visitor};
use crate::primitive::{AtomicU64, Ordering};
use crate::ptr::OffsetPtr;
use std::borrow::Borrow;
use std::cmp;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::offset_of;
use std::ops::{Deref, Index};
use std::ptr::{self, NonNull};
use std::slice::{self, SliceIndex};

/// A growable array in shared memory: `Vec<T>`, in 24 bytes.
///
/// It is read as a slice, at the cost of one addition over a slice's. It is built by an initialiser
/// ([`ShmVec::new`], an array, a `Vec`, a slice of `Copy` values, [`init::from_iter`](crate::init::from_iter)) and
/// written through its view, [`VecMut`].
///
/// Dropping it destroys the elements and frees the block, in constant stack however deep vectors and boxes nest. If
/// a lock inside an element is held, the block is leaked instead.
///
/// # Invariants
/// 1. `len <= cap`; for a `T` without size `cap` is 0 and `len` is free.
/// 2. If `cap > 0`, `ptr` leads to a block of its own with room for `cap` values, of which the first `len` are
///    valid. If `cap` is 0 there is no block and `ptr` is not followed.
///
/// # Examples
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmVec};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let prices = segment.construct::<ShmMutex<ShmVec<u64>>>("prices", ShmMutex::new([1, 2, 3]))?;
/// let mut guard = prices.lock()?;
/// let mut view = guard.view();
/// view.push(4)?;
/// view[0] = 9;
/// assert_eq!(view, [9, 2, 3, 4]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "vector")]
#[repr(C)]
pub struct ShmVec<T: ShmSafe> {
    ptr: OffsetPtr<T>,
    len: u64,
    cap: u64,
}

const _: () = {
    assert!(size_of::<ShmVec<u8>>() == 24 && align_of::<ShmVec<u8>>() == 8);
    assert!(offset_of!(ShmVec<u8>, ptr) == 0);
    assert!(offset_of!(ShmVec<u8>, len) == 8);
    assert!(offset_of!(ShmVec<u8>, cap) == 16);
};

// SAFETY: it owns its elements, which are `Send`; whoever drops it finds the heap by address.
unsafe impl<T: ShmSafe> Send for ShmVec<T> {}
// SAFETY: shared, it only gives `&[T]`.
unsafe impl<T: ShmSafe + Sync> Sync for ShmVec<T> {}

// SAFETY: 1, 9: three fixed words, the pointer self-relative. 2: not plain, and `OffsetPtr` is not `Unpin`. 3, 5: the
// elements stand in a block of their own. 6: see `VecMut`. 7, 8: see the methods. 10: see `Drop`.
unsafe impl<T: ShmSafe> ShmSafe for ShmVec<T> {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = Reach<T>;
    type Mut<'a> = VecMut<'a, T>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> VecMut<'a, T> {
        // SAFETY: by the caller.
        unsafe { VecMut::new(at, access) }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller. An old value at `to` is emptied before its pointer is replaced, so that
        // every prefix is a valid vector; what it owned may be leaked.
        unsafe {
            let (first, len, cap) = ((*from).ptr.as_ptr(), (*from).len, (*from).cap);
            store(&raw mut (*to).len, 0);
            store(&raw mut (*to).cap, 0);
            OffsetPtr::store(&raw mut (*to).ptr, if cap == 0 { ptr::null_mut() } else { first });
            store(&raw mut (*to).cap, cap);
            store(&raw mut (*to).len, len);
        }
    }

    fn type_info() -> &'static TypeInfo {
        builtin_info!(ShmVec<T>, "ShmVec", T)
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller; any bits are numbers.
        let (len, cap) = unsafe { ((&raw const (*this).len).read(), (&raw const (*this).cap).read()) };
        if cap > 0 && size_of::<T>() > 0 {
            // SAFETY: readable by the caller.
            unsafe { visitor.own(&raw const (*this).ptr, len as usize, cap as usize) }
        } else if cap > 0 || (len > 0 && size_of::<T>() > 0) {
            visitor.invalid(this.cast(), "a vector whose capacity does not fit its length or type");
        }
    }
}

/// Stores one publish word: Release, so that what it publishes is there before it.
///
/// # Safety
/// 1. `word` is valid for writes, 8-aligned, and the caller has exclusive access.
#[inline(always)]
pub(super) unsafe fn store(word: *mut u64, value: u64) {
    // SYNC publish: a process killed behind this store has made every store before it.
    // SAFETY: 1.
    unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Release);
}

impl<T: ShmSafe> ShmVec<T> {
    /// The first element's place; dangling without a block.
    #[inline]
    fn first(&self) -> *mut T {
        match size_of::<T>() == 0 || self.cap == 0 {
            true => ptr::dangling_mut(),
            // SAFETY: invariant 2.
            false => unsafe { self.ptr.as_ptr_unchecked() },
        }
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many elements there is room for without allocating; `usize::MAX` for elements without size.
    #[inline]
    pub fn capacity(&self) -> usize {
        if size_of::<T>() == 0 { usize::MAX } else { self.cap as usize }
    }

    /// How many more elements there is room for without allocating.
    #[inline]
    pub fn spare_capacity(&self) -> usize {
        self.capacity() - self.len()
    }

    /// All elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: invariant 2.
        unsafe { slice::from_raw_parts(self.first(), self.len()) }
    }
}

impl<T: ShmSafe> Drop for ShmVec<T> {
    fn drop(&mut self) {
        if size_of::<T>() == 0 {
            // SAFETY: invariant 1; elements without size stand anywhere and are destroyed once, here.
            unsafe { ptr::slice_from_raw_parts_mut(self.first(), self.len()).drop_in_place() }
        } else if self.cap > 0
            && let Some(block) = self.ptr.get()
        {
            // SAFETY: invariant 2; the vector, which owned the block, is not used any more.
            unsafe { destroy_block(block, self.len as usize, self.cap as usize) }
        }
    }
}

impl<T: ShmSafe> Deref for ShmVec<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: ShmSafe> AsRef<[T]> for ShmVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: ShmSafe> Borrow<[T]> for ShmVec<T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T: ShmSafe, I: SliceIndex<[T]>> Index<I> for ShmVec<T> {
    type Output = I::Output;
    #[inline]
    fn index(&self, i: I) -> &I::Output {
        &self.as_slice()[i]
    }
}

impl<'v, T: ShmSafe> IntoIterator for &'v ShmVec<T> {
    type Item = &'v T;
    type IntoIter = slice::Iter<'v, T>;
    #[inline]
    fn into_iter(self) -> slice::Iter<'v, T> {
        self.iter()
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for ShmVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + Hash> Hash for ShmVec<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ShmSafe + ShmHash> ShmHash for ShmVec<T> {
    /// As the slice.
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        (**self).shm_hash(hasher);
    }
}

impl<T: ShmSafe + Eq> Eq for ShmVec<T> {}

impl<T: ShmSafe + PartialOrd> PartialOrd for ShmVec<T> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ShmSafe + Ord> Ord for ShmVec<T> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// Compares slices that two types dereference to.
macro_rules! eq {
    ($([$($generic:tt)*] $left:ty, $right:ty;)*) => { $(
        impl<T: ShmSafe, U, $($generic)*> PartialEq<$right> for $left where T: PartialEq<U> {
            fn eq(&self, other: &$right) -> bool {
                let (left, right): (&[T], &[U]) = (&self[..], &other[..]);
                left == right
            }
        }
    )* };
}
eq! {
    [] ShmVec<T>, [U];
    [] ShmVec<T>, &[U];
    [const N: usize] ShmVec<T>, [U; N];
    [const N: usize] ShmVec<T>, &[U; N];
    [] ShmVec<T>, Vec<U>;
    [] VecMut<'_, T>, [U];
    [] VecMut<'_, T>, &[U];
    [const N: usize] VecMut<'_, T>, [U; N];
    [const N: usize] VecMut<'_, T>, &[U; N];
    [] VecMut<'_, T>, Vec<U>;
}

/// The same, where the right side is shared too.
macro_rules! eq_shared {
    ($([$($generic:tt)*] $left:ty, $right:ty;)*) => { $(
        impl<T, U: ShmSafe, $($generic)*> PartialEq<$right> for $left where T: PartialEq<U> {
            fn eq(&self, other: &$right) -> bool {
                let (left, right): (&[T], &[U]) = (&self[..], &other[..]);
                left == right
            }
        }
    )* };
}
eq_shared! {
    [] [T], ShmVec<U>;
    [] &[T], ShmVec<U>;
    [const N: usize] [T; N], ShmVec<U>;
    [] Vec<T>, ShmVec<U>;
}

impl<T: ShmSafe + PartialEq<U>, U: ShmSafe> PartialEq<ShmVec<U>> for ShmVec<T> {
    fn eq(&self, other: &ShmVec<U>) -> bool {
        **self == **other
    }
}

impl<T: ShmSafe + PartialEq<U>, U: ShmSafe> PartialEq<ShmVec<U>> for VecMut<'_, T> {
    fn eq(&self, other: &ShmVec<U>) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: ShmSafe + PartialEq<U>, U: ShmSafe> PartialEq<VecMut<'_, U>> for VecMut<'_, T> {
    fn eq(&self, other: &VecMut<'_, U>) -> bool {
        self.as_slice() == other.as_slice()
    }
}
