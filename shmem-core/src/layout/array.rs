//! [`ShmSafe`] for arrays, and their lazy view [`ArrayMut`].
//!
//! This file needs `unsafe`: it implements an unsafe trait.

use super::init::{Init, replace};
use super::shm_safe::{any_lock_held, relocate_many};
use super::{Kind, Origin, Reach, ShmSafe, TypeInfo, Visitor};
use crate::access::{Access, MAX_ALIGN};
use crate::error::Result;
use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Index, IndexMut};
use std::ptr::NonNull;
use std::slice::SliceIndex;

// SAFETY: as for its elements, one after the other.
unsafe impl<T: ShmSafe, const N: usize> ShmSafe for [T; N] {
    const PLAIN: bool = T::PLAIN;
    const ANY_BITS: bool = T::ANY_BITS;
    const HAS_LOCKS: bool = T::HAS_LOCKS;
    type Parts = Reach<T>;
    type Mut<'a> = ArrayMut<'a, T, N>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> ArrayMut<'a, T, N> {
        ArrayMut { at, access, _array: PhantomData }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: as the caller says, for each element.
        unsafe { relocate_many(from.cast::<T>(), to.cast::<T>(), N) }
    }

    fn type_info() -> &'static TypeInfo {
        const {
            assert!(align_of::<T>() <= MAX_ALIGN, "the alignment of a stored type is at most 4096");
            &TypeInfo {
                name: "array",
                origin: Origin::Builtin,
                version: 0,
                size: size_of::<[T; N]>(),
                align: align_of::<T>(),
                kind: Kind::Array { len: N, element: T::type_info },
                args: &[],
                id: TypeId::of::<[T; N]>(),
            }
        }
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        if T::ANY_BITS {
            return;
        }
        for i in 0..N {
            // SAFETY: readable by the caller.
            unsafe { T::visit(this.cast::<T>().add(i), visitor) }
        }
    }

    unsafe fn lock_held(this: *const Self) -> bool {
        // SAFETY: as the caller says.
        unsafe { any_lock_held(this.cast::<T>(), N) }
    }
}

/// Exclusive access to an array. Elements' views are made when asked for, so an array of a million elements costs
/// nothing to view.
pub struct ArrayMut<'a, T: ShmSafe, const N: usize> {
    at: NonNull<[T; N]>,
    access: Access<'a>,
    _array: PhantomData<&'a mut [T; N]>,
}

// SAFETY: it is a unique reference to the array; its context holds no thread's state.
unsafe impl<T: ShmSafe, const N: usize> Send for ArrayMut<'_, T, N> {}
// SAFETY: shared, it only gives `&[T; N]`.
unsafe impl<T: ShmSafe + Sync, const N: usize> Sync for ArrayMut<'_, T, N> {}

impl<T: ShmSafe, const N: usize> ArrayMut<'_, T, N> {
    fn element(&self, i: usize) -> NonNull<T> {
        assert!(i < N, "index {i} is out of range for an array of length {N}");
        // SAFETY: in bounds.
        unsafe { self.at.cast::<T>().add(i) }
    }

    /// The view of element `i`, `None` beyond the end.
    pub fn get_mut(&mut self, i: usize) -> Option<T::Mut<'_>> {
        // SAFETY: the element is valid and, through `self`, exclusively ours.
        (i < N).then(|| unsafe { T::view(self.element(i), self.access) })
    }

    /// The views of all elements, in order.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = T::Mut<'_>> + DoubleEndedIterator {
        let (first, access) = (self.at.cast::<T>(), self.access);
        // SAFETY: each element is viewed once, and all of them are exclusively ours.
        (0..N).map(move |i| unsafe { T::view(first.add(i), access) })
    }

    /// Replaces element `i`.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`](crate::Error::LockHeld); the old element stays.
    ///
    /// # Panics
    /// If `i` is out of range.
    pub fn set(&mut self, i: usize, init: impl Init<T>) -> Result<()> {
        // SAFETY: the element is valid and exclusively ours.
        unsafe { replace(self.element(i), init, self.access) }
    }

    /// All elements as a slice, which counts as overwriting them.
    pub fn as_mut_slice(&mut self) -> &mut [T]
    where
        T: Unpin,
    {
        // SAFETY: readable; a `&mut` to all of it is about to be handed out.
        unsafe { self.access.save_value(self.at.as_ptr()) };
        // SAFETY: valid and exclusively ours; movable, so swapping elements is harmless.
        unsafe { self.at.as_mut() }
    }
}

impl<T: ShmSafe, const N: usize> Deref for ArrayMut<'_, T, N> {
    type Target = [T; N];
    #[inline]
    fn deref(&self) -> &[T; N] {
        // SAFETY: valid, and no view of an element is alive while `self` is borrowed.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ShmSafe, const N: usize, I: SliceIndex<[T]>> Index<I> for ArrayMut<'_, T, N> {
    type Output = I::Output;
    #[inline]
    fn index(&self, i: I) -> &I::Output {
        &self.as_slice()[i]
    }
}

impl<T: ShmSafe + Unpin, const N: usize, I: SliceIndex<[T]>> IndexMut<I> for ArrayMut<'_, T, N> {
    #[inline]
    fn index_mut(&mut self, i: I) -> &mut I::Output {
        &mut self.as_mut_slice()[i]
    }
}

impl<T: ShmSafe + fmt::Debug, const N: usize> fmt::Debug for ArrayMut<'_, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use crate::layout::init;
    use crate::testing::TestSegment;
    use crate::{ShmString, ShmVec};

    #[test]
    fn every_change_of_a_plain_array_is_recorded() {
        let segment = TestSegment::new();
        let mut array = segment.build::<[u64; 4]>([1, 2, 3, 4]).unwrap();
        array.undone(|a| *a, |a| a.view()[2] = 9);
        array.undone(|a| *a, |a| a.view().as_mut_slice().reverse());
        array.undone(|a| *a, |a| *a.view().get_mut(0).unwrap() = 7);
        array.undone(|a| *a, |a| a.view().iter_mut().for_each(|n| *n *= 2));
        array.undone(|a| *a, |a| a.view().set(3, 5).unwrap());
        array.view()[1] = 8;
        assert_eq!(array.elsewhere(), &[1, 8, 3, 4]);
        assert!(array.view().get_mut(4).is_none());
    }

    #[test]
    fn every_change_of_an_array_of_containers_is_recorded() {
        let segment = TestSegment::new();
        let native = |a: &[ShmVec<ShmString>; 2]| -> Vec<Vec<String>> {
            a.iter().map(|v| v.iter().map(|s| s.to_string()).collect()).collect()
        };
        let long = "a text that is too long to stand inline";
        let lists = init::array([vec![long, "b"], vec![]]);
        let mut array = segment.build::<[ShmVec<ShmString>; 2]>(lists).unwrap();
        array.undone(native, |a| a.view().get_mut(1).unwrap().push(long).unwrap());
        array.undone(native, |a| a.view().iter_mut().for_each(|mut list| list.clear()));
        array.undone(native, |a| a.view().set(0, [long, long, long]).unwrap());
        // Out of memory at every allocation of a replacement: the old element stays, nothing is leaked.
        let before = native(array.get());
        for n in 0.. {
            segment.fail_after(Some(n));
            let outcome = array.view().set(0, [long, long]);
            segment.fail_after(None);
            array.check();
            match outcome {
                Err(e) => assert!(e.is_out_of_memory() && native(array.get()) == before),
                Ok(()) => break,
            }
        }
        assert_eq!(native(array.elsewhere()), [vec![long, long], vec![]]);
    }
}
