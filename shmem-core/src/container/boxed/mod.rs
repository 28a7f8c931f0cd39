//! [`ShmBox`]: one value in a block of its own, and [`ShmBoxSlice`]: a fixed number of them.
//!
//! This file needs `unsafe`: it implements an unsafe trait and reads the box's block.

mod slice;
#[cfg(test)]
mod tests;

pub use slice::{BoxSliceFromFn, BoxSliceMut, ShmBoxSlice};

use super::drop_queue::destroy_block;
use crate::access::Access;
use crate::error::{Error, Result};
use crate::layout::init::Init;
use crate::layout::mirror::{Mirror, MirrorType};
use crate::layout::{Reach, ShmDefault, ShmHash, ShmHasher, ShmSafe, TypeInfo, Visitor, any_lock_held};
use crate::ptr::OffsetPtr;
use std::borrow::Borrow;
use std::cmp;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// One value in a block of its own: `Box<T>`, in 8 bytes. It makes recursive types possible.
///
/// It is built by [`ShmBox::new`] and written through its view, [`BoxMut`]. Dropping a chain of boxes, however
/// long, takes constant stack: a box inside a box is destroyed after the values beside it. If a lock inside the
/// value is held, the block is leaked instead.
///
/// # Invariants
/// 1. `ptr` leads to a block of its own that holds a valid `T`; it is null, and not followed, if `T` has no size.
///
/// # Examples
/// ```
/// use shmem_core::{Segment, ShmBox, ShmString};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let boxed = segment.construct::<ShmBox<ShmString>>("boxed", ShmBox::new("hello"))?;
/// assert_eq!(boxed.len(), 5);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "unique_ptr")]
#[repr(C)]
pub struct ShmBox<T: ShmSafe> {
    ptr: OffsetPtr<T>,
}

const _: () = assert!(size_of::<ShmBox<u8>>() == 8 && align_of::<ShmBox<u8>>() == 8);

// SAFETY: it owns its value, which is `Send`; whoever drops it finds the heap by address.
unsafe impl<T: ShmSafe> Send for ShmBox<T> {}
// SAFETY: shared, it only gives `&T`.
unsafe impl<T: ShmSafe + Sync> Sync for ShmBox<T> {}

// SAFETY: 1, 9: one word, a self-relative pointer. 2: not plain, and `OffsetPtr` is not `Unpin`. 3, 5: the value stands
// in a block of its own. 6: see `BoxMut`. 7: one store. 8: see the method. 10: see `Drop`.
unsafe impl<T: ShmSafe> ShmSafe for ShmBox<T> {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = Reach<T>;
    type Mut<'a> = BoxMut<'a, T>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> BoxMut<'a, T> {
        BoxMut { at, access, _box: PhantomData }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller.
        unsafe { OffsetPtr::store(&raw mut (*to).ptr, (*from).ptr.as_ptr()) }
    }

    fn type_info() -> &'static TypeInfo {
        builtin_info!(ShmBox<T>, "ShmBox", T)
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        if size_of::<T>() > 0 {
            // SAFETY: readable by the caller.
            unsafe { visitor.own(&raw const (*this).ptr, 1, 1) }
        }
    }
}

/// Initialiser of a [`ShmBox`]: see [`ShmBox::new`].
#[derive(Debug, Clone)]
pub struct BoxInit<T, I> {
    init: I,
    _value: PhantomData<fn() -> T>,
}

/// A block for `n` values that goes back to the heap unless it is kept.
struct Block<'a, T> {
    first: NonNull<T>,
    n: usize,
    access: Access<'a>,
}

impl<'a, T> Block<'a, T> {
    fn allocate(n: usize, access: Access<'a>) -> Result<Self> {
        let (first, _) = access.allocate_array::<T>(n)?;
        Ok(Block { first, n, access })
    }

    /// The block, now the caller's.
    fn keep(self) -> NonNull<T> {
        let this = std::mem::ManuallyDrop::new(self);
        this.first
    }
}

impl<T> Drop for Block<'_, T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate`, named nowhere.
        unsafe { self.access.deallocate_array(self.first, self.n) }
    }
}

/// Builds a value in a block of its own; a dangling one if it has no size.
fn build<T: ShmSafe>(init: impl Init<T>, access: Access<'_>) -> Result<NonNull<T>> {
    let block = Block::allocate(1, access)?;
    // SAFETY: a fresh block of the right layout (or a place for a value without size).
    unsafe { init.init(block.first.as_ptr(), access)? };
    Ok(block.keep())
}

/// What is stored for a block: nothing for a value without size.
fn stored<T>(block: NonNull<T>) -> *mut T {
    if size_of::<T>() == 0 { ptr::null_mut() } else { block.as_ptr() }
}

// SAFETY: 1: a box of the value. 2: `build` gives the block back. 3: only the slot and its block.
unsafe impl<T: ShmSafe, I: Init<T>> Init<ShmBox<T>> for BoxInit<T, I> {
    unsafe fn init(self, slot: *mut ShmBox<T>, access: Access<'_>) -> Result<()> {
        let block = build(self.init, access)?;
        // SAFETY: the slot is, or will be, in the block's segment.
        unsafe { OffsetPtr::store(&raw mut (*slot).ptr, stored(block)) };
        Ok(())
    }
}

impl<T: ShmDefault> ShmDefault for ShmBox<T> {
    /// A box of the value's own default.
    fn shm_default() -> impl Init<Self> {
        ShmBox::new(T::shm_default())
    }
}

impl<T: ShmSafe> ShmBox<T> {
    /// An initialiser of a box that holds what `init` builds. The value is built in its block, nothing of it on the
    /// stack.
    #[expect(clippy::new_ret_no_self, reason = "a box is built in place, so `new` gives its initialiser")]
    pub fn new<I: Init<T>>(init: I) -> BoxInit<T, I> {
        BoxInit { init, _value: PhantomData }
    }

    /// The value's place.
    #[inline]
    fn value(&self) -> *mut T {
        if size_of::<T>() == 0 { ptr::dangling_mut() } else { self.ptr.as_ptr() }
    }
}

impl<T: ShmSafe> Drop for ShmBox<T> {
    fn drop(&mut self) {
        if size_of::<T>() == 0 {
            // SAFETY: a value without size stands anywhere; it is destroyed once, here.
            unsafe { self.value().drop_in_place() }
        } else if let Some(block) = self.ptr.get() {
            // SAFETY: the invariant; the box, which owned the block, is not used any more.
            unsafe { destroy_block(block, 1, 1) }
        }
    }
}

impl<T: ShmSafe> Deref for ShmBox<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant.
        unsafe { &*self.value() }
    }
}

impl<T: ShmSafe> AsRef<T> for ShmBox<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ShmSafe> Borrow<T> for ShmBox<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for ShmBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + fmt::Display> fmt::Display for ShmBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + Hash> Hash for ShmBox<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ShmSafe + ShmHash> ShmHash for ShmBox<T> {
    /// As the value.
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        (**self).shm_hash(hasher);
    }
}

impl<T: ShmSafe + PartialEq> PartialEq for ShmBox<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ShmSafe + Eq> Eq for ShmBox<T> {}

impl<T: ShmSafe + PartialOrd> PartialOrd for ShmBox<T> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: ShmSafe + Ord> Ord for ShmBox<T> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: MirrorType> MirrorType for Box<T> {
    type Shm = ShmBox<T::Shm>;
}

impl<T: Mirror> Mirror for Box<T> {
    type Init<'a>
        = BoxInit<T::Shm, T::Init<'a>>
    where
        T: 'a;
    fn mirror(&self) -> Self::Init<'_> {
        ShmBox::new((**self).mirror())
    }
    fn to_native(shm: &ShmBox<T::Shm>) -> Self {
        Box::new(T::to_native(shm))
    }
}

/// Exclusive access to a [`ShmBox`]. It dereferences to the value, for reading, and for writing if that is movable.
pub struct BoxMut<'a, T: ShmSafe> {
    at: NonNull<ShmBox<T>>,
    access: Access<'a>,
    _box: PhantomData<&'a mut ShmBox<T>>,
}

// SAFETY: it is a unique reference to the box; its context holds no thread's state.
unsafe impl<T: ShmSafe> Send for BoxMut<'_, T> {}
// SAFETY: shared, it only gives `&T`.
unsafe impl<T: ShmSafe + Sync> Sync for BoxMut<'_, T> {}

impl<T: ShmSafe> BoxMut<'_, T> {
    fn value(&self) -> NonNull<T> {
        // SAFETY: valid; the value's place is never null.
        unsafe { NonNull::new_unchecked(self.at.as_ref().value()) }
    }

    /// The view of the value.
    #[inline]
    pub fn get(&mut self) -> T::Mut<'_> {
        // SAFETY: the value is valid and, through `self`, exclusively ours.
        unsafe { T::view(self.value(), self.access) }
    }

    /// Replaces the value: builds the new one in a block of its own, publishes that with one store, then destroys
    /// the old one.
    ///
    /// # Errors
    /// The initialiser's, [`AllocError`](crate::AllocError), or [`Error::LockHeld`]; the old value stays.
    ///
    /// # Crash safety
    /// A process killed inside leaves the old value or the new one.
    pub fn set(&mut self, value: impl Init<T>) -> Result<()> {
        let old = self.value();
        let new = build(value, self.access)?;
        // SAFETY: the old value is valid and exclusively ours.
        if unsafe { any_lock_held(old.as_ptr(), 1) } {
            // SAFETY: built above, known to nobody.
            unsafe { destroy_block(new, 1, 1) };
            return Err(Error::LockHeld);
        }
        let at = self.at.as_ptr();
        // SAFETY: the box is readable and exclusively ours; the old block is destroyed when nothing names it.
        unsafe {
            self.access.save_value(at);
            OffsetPtr::store(&raw mut (*at).ptr, stored(new));
            match size_of::<T>() {
                0 => old.drop_in_place(),
                _ => destroy_block(old, 1, 1),
            }
        }
        Ok(())
    }
}

impl<T: ShmSafe> Deref for BoxMut<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: valid, and no view of the value is alive while `self` is borrowed.
        unsafe { self.value().as_ref() }
    }
}

impl<T: ShmSafe + Unpin> DerefMut for BoxMut<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: readable; a `&mut` to it is about to be handed out.
        unsafe { self.access.save_value(self.value().as_ptr()) };
        // SAFETY: valid and exclusively ours; movable.
        unsafe { self.value().as_mut() }
    }
}

impl<T: ShmSafe> AsRef<T> for BoxMut<'_, T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for BoxMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ShmSafe + PartialEq> PartialEq for BoxMut<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
pub(crate) fn box_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(ShmBox<u64> { ptr })
}

#[cfg(test)]
pub(crate) use slice::box_slice_layout;
