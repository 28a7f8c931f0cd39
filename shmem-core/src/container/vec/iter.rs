//! [`VecIterMut`]: the views of elements that stand one after the other.
//!
//! This file needs `unsafe`: it makes views.

use super::VecMut;
use crate::access::Access;
use crate::layout::ShmSafe;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;

/// The views of a vector's elements, in order: see [`VecMut::iter_mut`].
pub struct VecIterMut<'v, T: ShmSafe> {
    first: *mut T,
    left: Range<usize>,
    access: Access<'v>,
    _vec: PhantomData<&'v mut [T]>,
}

// SAFETY: it is a unique reference to the elements; its context holds no thread's state.
unsafe impl<T: ShmSafe> Send for VecIterMut<'_, T> {}
// SAFETY: shared, it gives nothing.
unsafe impl<T: ShmSafe> Sync for VecIterMut<'_, T> {}

impl<'v, T: ShmSafe> VecIterMut<'v, T> {
    /// The views of `len` elements at `first`.
    ///
    /// # Safety
    /// 1. They are valid and, for `'v`, nobody else uses them.
    #[inline]
    pub(in crate::container) unsafe fn new(first: *mut T, len: usize, access: Access<'v>) -> Self {
        VecIterMut { first, left: 0..len, access, _vec: PhantomData }
    }

    #[inline]
    fn view(&self, i: usize) -> T::Mut<'v> {
        // SAFETY: each element is viewed once, and all of them are exclusively ours for `'v`.
        unsafe { T::view(NonNull::new_unchecked(self.first.add(i)), self.access) }
    }
}

impl<'v, T: ShmSafe> Iterator for VecIterMut<'v, T> {
    type Item = T::Mut<'v>;
    #[inline]
    fn next(&mut self) -> Option<T::Mut<'v>> {
        let i = self.left.next()?;
        Some(self.view(i))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
    fn nth(&mut self, n: usize) -> Option<T::Mut<'v>> {
        let i = self.left.nth(n)?;
        Some(self.view(i))
    }
}

impl<'v, T: ShmSafe> DoubleEndedIterator for VecIterMut<'v, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T::Mut<'v>> {
        let i = self.left.next_back()?;
        Some(self.view(i))
    }
}

impl<T: ShmSafe> ExactSizeIterator for VecIterMut<'_, T> {}
impl<T: ShmSafe> FusedIterator for VecIterMut<'_, T> {}

impl<T: ShmSafe> fmt::Debug for VecIterMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VecIterMut").field("left", &self.left.len()).finish()
    }
}

impl<'v, T: ShmSafe> IntoIterator for &'v mut VecMut<'_, T> {
    type Item = T::Mut<'v>;
    type IntoIter = VecIterMut<'v, T>;
    fn into_iter(self) -> VecIterMut<'v, T> {
        self.iter_mut()
    }
}

impl<'v, T: ShmSafe> IntoIterator for &'v VecMut<'_, T> {
    type Item = &'v T;
    type IntoIter = slice::Iter<'v, T>;
    fn into_iter(self) -> slice::Iter<'v, T> {
        self.iter()
    }
}
