//! [`Root`] and [`Owned`]: handles to objects, which keep them and their mapping alive.
//!
//! This file needs `unsafe`: a handle turns a pinned place into a reference.

use super::directory::{Hold, Pinned};
use super::inner::{Inner, Segment};
use crate::access::Access;
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::layout::init::{Init, replace};
use crate::mapping::registry;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// What an object can be: one value (`T`), or a slice of them (`[T]`).
///
/// Implemented for exactly these; there is nothing to implement.
pub trait Object: sealed::Object {}

mod sealed {
    use crate::layout::ShmSafe;

    pub trait Object {
        /// The type of the elements.
        type Element: ShmSafe;
    }
    impl<T: ShmSafe> Object for T {
        type Element = T;
    }
    impl<T: ShmSafe> Object for [T] {
        type Element = T;
    }
}

impl<T: ShmSafe> Object for T {}
impl<T: ShmSafe> Object for [T] {}

/// A handle to an object in a segment: `Root<T>` to one value, `Root<[T]>` to a slice.
///
/// It dereferences to the object, which lives (also after [`Segment::destroy`], and after the segment's name is
/// removed) until the last handle in any process is dropped, or that process dies.
pub struct Root<T: Object + ?Sized> {
    at: NonNull<T>,
    inner: Arc<Inner>,
    hold: Hold,
    /// Processes do not fork four thousand million times in a row.
    fork_generation: u32,
}

// SAFETY: it gives `&T` to whoever has it and may drop the object where it is dropped; `ShmSafe: Send`.
unsafe impl<T: Object + ?Sized + Send + Sync> Send for Root<T> {}
// SAFETY: likewise.
unsafe impl<T: Object + ?Sized + Send + Sync> Sync for Root<T> {}

impl<T: ShmSafe> Root<T> {
    /// # Safety
    /// 1. `pinned` is one valid `T` in `inner`'s mapping, pinned for this handle.
    #[inline(always)]
    pub(super) unsafe fn one(inner: &Arc<Inner>, pinned: Pinned) -> Self {
        Self::with(inner, pinned.hold, pinned.at.cast())
    }

    /// The view of the object, for data that something else keeps others away from: another lock, or the fact that
    /// nobody else has the segment.
    ///
    /// # Safety
    /// 1. While the view lives, nobody else reads or writes the object or what it owns, in any process or thread.
    pub unsafe fn view_unchecked(&self) -> T::Mut<'_> {
        // SAFETY: valid while the handle lives; exclusive by 1.
        unsafe { T::view(self.at, Access::new(&self.inner.context)) }
    }

    /// Replaces the object, for data that something else keeps others away from.
    ///
    /// # Errors
    /// The initialiser's, or [`Error::LockHeld`](crate::Error::LockHeld); the old value stays.
    ///
    /// # Safety
    /// 1. Meanwhile nobody else reads or writes the object or what it owns, in any process or thread, and no
    ///    reference into it is alive.
    pub unsafe fn set_unchecked(&self, init: impl Init<T>) -> Result<()> {
        // SAFETY: valid while the handle lives; exclusive by 1.
        unsafe { replace(self.at, init, Access::new(&self.inner.context)) }
    }
}

impl<T: ShmSafe> Root<[T]> {
    /// # Safety
    /// 1. `pinned` is a slice of valid `T`s in `inner`'s mapping, pinned for this handle.
    pub(super) unsafe fn slice(inner: &Arc<Inner>, pinned: Pinned) -> Self {
        let at = NonNull::slice_from_raw_parts(pinned.at.cast::<T>(), pinned.count);
        Self::with(inner, pinned.hold, at)
    }

    /// The view of element `i`, `None` beyond the end, for data that something else keeps others away from.
    ///
    /// # Safety
    /// 1. While the view lives, nobody else reads or writes the element or what it owns, in any process or thread.
    pub unsafe fn view_unchecked(&self, i: usize) -> Option<T::Mut<'_>> {
        // SAFETY: in bounds and valid while the handle lives; exclusive by 1.
        (i < self.at.len())
            .then(|| unsafe { T::view(self.at.cast::<T>().add(i), Access::new(&self.inner.context)) })
    }
}

impl<T: Object + ?Sized> Root<T> {
    #[inline(always)]
    fn with(inner: &Arc<Inner>, hold: Hold, at: NonNull<T>) -> Self {
        Root { at, inner: inner.clone(), hold, fork_generation: registry::fork_generation() as u32 }
    }

    /// The segment the object stands in.
    pub fn segment(&self) -> Segment {
        Segment { inner: self.inner.clone() }
    }

    /// Where the object stands, in bytes from the start of the segment: the same for every process.
    pub fn offset(&self) -> u64 {
        self.inner.context.offset_of(self.at.as_ptr().cast()).unwrap_or(0)
    }

    pub(super) fn number(&self) -> u32 {
        self.inner.directory.number_held(self.hold)
    }

    /// Whether this handle is of this process: the child of a fork has its own pins on what it inherited, so it is,
    /// unless the child could get none.
    fn is_ours(&self) -> bool {
        self.inner.participants.backs(self.fork_generation.into())
    }
}

impl<T: Object + ?Sized> Clone for Root<T> {
    fn clone(&self) -> Self {
        if self.is_ours() {
            self.inner.directory.pin_again(self.hold, self.fork_generation);
        }
        Root { inner: self.inner.clone(), ..*self }
    }
}

impl<T: Object + ?Sized> Drop for Root<T> {
    #[inline]
    fn drop(&mut self) {
        self.inner.directory.let_go::<T::Element>(self.hold, self.fork_generation);
    }
}

impl<T: Object + ?Sized> Deref for Root<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a valid object, pinned while the handle lives, in a mapping that the handle keeps.
        unsafe { self.at.as_ref() }
    }
}

impl<T: Object + ?Sized> AsRef<T> for Root<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: Object + ?Sized + fmt::Debug> fmt::Debug for Root<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Object + ?Sized + fmt::Display> fmt::Display for Root<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A handle to an object without a name: the object goes with it.
///
/// [`root`](Owned::root) gives further handles; the object then lives until the last of them goes.
pub struct Owned<T: ShmSafe> {
    root: Root<T>,
}

impl<T: ShmSafe> Owned<T> {
    pub(super) fn new(root: Root<T>) -> Self {
        Owned { root }
    }

    /// Another handle to the object.
    pub fn root(&self) -> Root<T> {
        self.root.clone()
    }

    /// The exclusive view of the object.
    ///
    /// # Safety
    /// As [`Root::view_unchecked`].
    pub unsafe fn view_unchecked(&self) -> T::Mut<'_> {
        // SAFETY: by the caller.
        unsafe { self.root.view_unchecked() }
    }
}

impl<T: ShmSafe> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.root.is_ours() {
            self.root.inner.directory.unlink_anonymous(self.root.hold);
        }
    }
}

impl<T: ShmSafe> Deref for Owned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.root
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

const _: fn() = || {
    fn sendable<T: Send + Sync>() {}
    sendable::<Root<u64>>();
    sendable::<Root<[u64]>>();
    sendable::<Segment>();
};
