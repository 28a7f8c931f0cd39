//! [`ShmOption`]: a value or none.
//!
//! This file needs `unsafe`: it implements an unsafe trait and reads the payload by its tag.

#[cfg(test)]
mod tests;
mod view;

pub use view::OptionMut;

use crate::access::Access;
use crate::error::Result;
use crate::layout::init::Init;
use crate::layout::mirror::{Mirror, MirrorType};
use crate::layout::{Reach, ShmDefault, ShmHash, ShmHasher, ShmSafe, TypeInfo, Visitor};
use crate::primitive::Ordering;
use std::cmp;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit, offset_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, compiler_fence};

const NONE: u8 = 0;
const SOME: u8 = 1;

/// A value or none: `Option<T>` with a layout that is the same in every build.
///
/// It is built by [`none`](Self::none), [`some`](Self::some) or an `Option` of an initialiser, read through
/// [`as_ref`](Self::as_ref) and written through its view, [`OptionMut`]. Of a movable type it can also be made from
/// an `Option` and turned back into one.
///
/// # Invariants
/// 1. `tag` is 0 or 1; if it is 1, `value` is valid.
///
/// # Examples
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmOption, ShmString};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let nick = segment.construct::<ShmMutex<ShmOption<ShmString>>>("nick", ShmMutex::new(ShmOption::none()))?;
/// let mut guard = nick.lock()?;
/// guard.view().set("ada")?;
/// assert_eq!(guard.as_ref().map(|s| s.len()), Some(3));
/// # Ok(())
/// # }
/// ```
#[repr(C)]
pub struct ShmOption<T: ShmSafe> {
    tag: u8,
    value: MaybeUninit<T>,
}

const _: () = {
    assert!(size_of::<ShmOption<u64>>() == 16 && align_of::<ShmOption<u64>>() == 8);
    assert!(size_of::<ShmOption<u8>>() == 2 && size_of::<ShmOption<()>>() == 1);
    assert!(offset_of!(ShmOption<u64>, tag) == 0 && offset_of!(ShmOption<u64>, value) == 8);
};

/// Publishes a tag.
///
/// # Safety
/// 1. `this` is valid for writes, and the caller has exclusive access.
#[inline(always)]
unsafe fn set_tag<T: ShmSafe>(this: *mut ShmOption<T>, tag: u8) {
    // SYNC publish: Release, so that the payload is there before the tag that shows it.
    // SAFETY: 1.
    unsafe { AtomicU8::from_ptr(&raw mut (*this).tag) }.store(tag, Ordering::Release);
}

/// The payload's place.
///
/// # Safety
/// 1. `this` points into one allocation with room for a `ShmOption<T>`.
#[inline(always)]
unsafe fn payload<T: ShmSafe>(this: *mut ShmOption<T>) -> *mut T {
    // SAFETY: 1.
    unsafe { (&raw mut (*this).value).cast() }
}

// SAFETY: 1, 9: a tag and a `T` at fixed places. 2: as `T`. 3, 5: it contains a `T`. 6: see `OptionMut`. 7: the tag says
// "none" while the payload changes. 8: see the method. 10: see `Drop`.
unsafe impl<T: ShmSafe> ShmSafe for ShmOption<T> {
    const PLAIN: bool = T::PLAIN;
    const ANY_BITS: bool = false;
    const HAS_LOCKS: bool = T::HAS_LOCKS;
    type Parts = Reach<T>;
    type Mut<'a> = OptionMut<'a, T>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> OptionMut<'a, T> {
        // SAFETY: by the caller.
        unsafe { OptionMut::new(at, access) }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller; the payload only if there is one.
        unsafe {
            set_tag(to, NONE);
            // SYNC vacate: no byte of the payload is written before the tag hides it. A kill leaves a prefix in program
            // order, so the compiler's order is all it takes.
            compiler_fence(Ordering::SeqCst);
            if (*from).tag == SOME {
                T::relocate(payload(from), payload(to));
                set_tag(to, SOME);
            }
        }
    }

    fn type_info() -> &'static TypeInfo {
        builtin_info!(ShmOption<T>, "ShmOption", T)
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller.
        match unsafe { (&raw const (*this).tag).read() } {
            NONE => {}
            // SAFETY: readable by the caller.
            SOME => unsafe { T::visit(payload(this.cast_mut()), visitor) },
            _ => visitor.invalid(this.cast(), "the tag of an option that is neither 0 nor 1"),
        }
    }

    unsafe fn lock_held(this: *const Self) -> bool {
        // SAFETY: by the caller; the payload only if there is one.
        unsafe { T::HAS_LOCKS && (*this).tag == SOME && T::lock_held(payload(this.cast_mut())) }
    }
}

/// Initialiser of an empty [`ShmOption`]: see [`ShmOption::none`].
pub struct NoneInit<T>(PhantomData<fn() -> T>);

impl<T> Clone for NoneInit<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for NoneInit<T> {}

impl<T> fmt::Debug for NoneInit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoneInit")
    }
}

/// Initialiser of a [`ShmOption`] with a value: see [`ShmOption::some`].
#[derive(Debug, Clone)]
pub struct SomeInit<T, I>(I, PhantomData<fn() -> T>);

// SAFETY: 1: none. 2: it cannot fail. 3: only the slot.
unsafe impl<T: ShmSafe> Init<ShmOption<T>> for NoneInit<T> {
    #[inline]
    unsafe fn init(self, slot: *mut ShmOption<T>, _: Access<'_>) -> Result<()> {
        // SAFETY: the slot is valid for writes.
        unsafe { set_tag(slot, NONE) };
        Ok(())
    }
}

impl<T: ShmSafe> ShmDefault for ShmOption<T> {
    /// None.
    #[inline]
    fn shm_default() -> impl Init<Self> {
        ShmOption::none()
    }
}

// SAFETY: 1: the payload is whole before the tag. 2 and 3: by the inner initialiser.
unsafe impl<T: ShmSafe, I: Init<T>> Init<ShmOption<T>> for SomeInit<T, I> {
    #[inline]
    unsafe fn init(self, slot: *mut ShmOption<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: the slot is valid for writes, by the caller.
        unsafe {
            self.0.init(payload(slot), access)?;
            set_tag(slot, SOME);
        }
        Ok(())
    }
}

// SAFETY: as for `NoneInit` or `SomeInit`.
unsafe impl<T: ShmSafe, I: Init<T>> Init<ShmOption<T>> for Option<I> {
    #[inline]
    unsafe fn init(self, slot: *mut ShmOption<T>, access: Access<'_>) -> Result<()> {
        match self {
            // SAFETY: by the caller.
            None => unsafe { ShmOption::none().init(slot, access) },
            // SAFETY: by the caller.
            Some(init) => unsafe { ShmOption::some(init).init(slot, access) },
        }
    }
}

impl<T: ShmSafe> ShmOption<T> {
    /// An initialiser of an empty option.
    #[inline]
    pub const fn none() -> NoneInit<T> {
        NoneInit(PhantomData)
    }

    /// An initialiser of an option with what `init` builds.
    #[inline]
    pub fn some<I: Init<T>>(init: I) -> SomeInit<T, I> {
        SomeInit(init, PhantomData)
    }

    /// Whether there is a value.
    #[inline]
    pub fn is_some(&self) -> bool {
        self.tag == SOME
    }

    /// Whether there is none.
    #[inline]
    pub fn is_none(&self) -> bool {
        !self.is_some()
    }

    /// The value.
    #[inline]
    pub fn as_ref(&self) -> Option<&T> {
        // SAFETY: invariant 1.
        self.is_some().then(|| unsafe { self.value.assume_init_ref() })
    }

    /// What the value dereferences to.
    #[inline]
    pub fn as_deref(&self) -> Option<&T::Target>
    where
        T: std::ops::Deref,
    {
        self.as_ref().map(|value| &**value)
    }

    /// The value, if there is one.
    pub fn iter(&self) -> std::option::IntoIter<&T> {
        self.as_ref().into_iter()
    }

    /// The movable value, for writing.
    #[inline]
    pub fn as_mut(&mut self) -> Option<&mut T>
    where
        T: Unpin,
    {
        // SAFETY: invariant 1.
        self.is_some().then(|| unsafe { self.value.assume_init_mut() })
    }

    /// The native option of a movable value.
    #[inline]
    pub fn into_option(self) -> Option<T>
    where
        T: Unpin,
    {
        let this = ManuallyDrop::new(self);
        // SAFETY: invariant 1; the value is moved out once, and not dropped.
        this.is_some().then(|| unsafe { this.value.assume_init_read() })
    }
}

impl<T: ShmSafe + Unpin> From<Option<T>> for ShmOption<T> {
    fn from(value: Option<T>) -> Self {
        match value {
            None => ShmOption { tag: NONE, value: MaybeUninit::uninit() },
            Some(value) => ShmOption { tag: SOME, value: MaybeUninit::new(value) },
        }
    }
}

impl<T: ShmSafe + Unpin> From<ShmOption<T>> for Option<T> {
    fn from(value: ShmOption<T>) -> Self {
        value.into_option()
    }
}

impl<T: MirrorType> MirrorType for Option<T> {
    type Shm = ShmOption<T::Shm>;
}

impl<T: Mirror> Mirror for Option<T> {
    type Init<'a>
        = Option<T::Init<'a>>
    where
        T: 'a;
    fn mirror(&self) -> Self::Init<'_> {
        self.as_ref().map(T::mirror)
    }
    fn to_native(shm: &ShmOption<T::Shm>) -> Self {
        shm.as_ref().map(T::to_native)
    }
}

impl<T: ShmSafe> Drop for ShmOption<T> {
    #[inline]
    fn drop(&mut self) {
        if !std::mem::needs_drop::<T>() || !self.is_some() {
            return;
        }
        // SAFETY: invariant 1. A value that holds a held lock is not destroyed; whoever owns the block leaks it.
        unsafe {
            if !(T::HAS_LOCKS && T::lock_held(self.value.as_ptr())) {
                self.value.assume_init_drop();
            }
        }
    }
}

impl<'v, T: ShmSafe> IntoIterator for &'v ShmOption<T> {
    type Item = &'v T;
    type IntoIter = std::option::IntoIter<&'v T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for ShmOption<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl<T: ShmSafe + Hash> Hash for ShmOption<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

impl<T: ShmSafe + ShmHash> ShmHash for ShmOption<T> {
    /// Feeds 0 for none, else 1 and the value.
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        hasher.write_u64(self.is_some() as u64);
        if let Some(value) = self.as_ref() {
            value.shm_hash(hasher);
        }
    }
}

impl<T: ShmSafe + PartialEq> PartialEq for ShmOption<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl<T: ShmSafe + PartialEq<U>, U> PartialEq<Option<U>> for ShmOption<T> {
    fn eq(&self, other: &Option<U>) -> bool {
        match (self.as_ref(), other) {
            (Some(a), Some(b)) => a == b,
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

impl<T: ShmSafe + Eq> Eq for ShmOption<T> {}

impl<T: ShmSafe + PartialOrd> PartialOrd for ShmOption<T> {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        self.as_ref().partial_cmp(&other.as_ref())
    }
}

impl<T: ShmSafe + Ord> Ord for ShmOption<T> {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

#[cfg(test)]
pub(crate) fn option_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(ShmOption<u64> { tag, value })
}
