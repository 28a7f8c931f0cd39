//! [`Init`]: how a value is built in the place where it will live.
//!
//! A value with offset pointers cannot be made on the stack and moved in, so it is described by an initialiser
//! and built in its slot. Anything movable is its own initialiser; `&str` and `String` build a `ShmString`,
//! arrays and `Vec` build a `ShmVec`, `AccountInit { … }` builds an `Account`. The functions here cover what
//! blanket implementations cannot.
//!
//! This file needs `unsafe`: it writes uninitialised slots.

use super::ShmSafe;
use crate::access::{Access, standing_in};
use crate::error::{Error, Result};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};

/// Something that builds a `T` in place.
///
/// # Safety
/// 1. On `Ok`, `*slot` holds a valid `T` whose pointers lead into the segment of `access` only.
/// 2. On `Err` or panic, nothing is leaked and `*slot` counts as uninitialised.
/// 3. Nothing but `*slot` and blocks allocated meanwhile is written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not initialise a `{T}`",
    note = "a value that can be moved initialises itself; `&str` and `String` build a ShmString, arrays and Vec build a ShmVec, `NameInit {{ .. }}` builds a derived `Name`",
    note = "see the functions of `shmem_core::init` for closures, iterators and arrays"
)]
pub unsafe trait Init<T: ShmSafe> {
    /// Builds the value.
    ///
    /// # Errors
    /// Whatever kept it from being built, most often [`AllocError`](crate::AllocError).
    ///
    /// # Safety
    /// 1. `slot` is valid for writes of a `T`, aligned, and nobody else uses it. It may stand outside the segment
    ///    (on the stack): the value is then to be [relocated](ShmSafe::relocate) into it.
    unsafe fn init(self, slot: *mut T, access: Access<'_>) -> Result<()>;
}

// SAFETY: 1: a movable value is valid wherever it is moved. 2 and 3: nothing can fail, only the slot is written.
unsafe impl<T: ShmSafe + Unpin> Init<T> for T {
    #[inline]
    unsafe fn init(self, slot: *mut T, _: Access<'_>) -> Result<()> {
        // SAFETY: the slot is valid for writes.
        unsafe { slot.write(self) };
        Ok(())
    }
}

// SAFETY: a value without bytes. (`PhantomData` is its own initialiser only if `T` is movable.)
unsafe impl<T: ShmSafe> Init<PhantomData<T>> for () {
    #[inline]
    unsafe fn init(self, _: *mut PhantomData<T>, _: Access<'_>) -> Result<()> {
        Ok(())
    }
}

/// A slot to be filled inside [`with`]; `'id` is unique to it.
#[derive(Debug)]
pub struct Slot<'id, 's, T: ShmSafe> {
    at: NonNull<T>,
    access: Access<'s>,
    _brand: PhantomData<fn(&'id ()) -> &'id ()>,
}

/// Proof that the [`Slot`] of the same `'id` was filled.
///
/// Dropping it without returning it destroys the value.
#[derive(Debug)]
#[must_use = "return it from the closure: it proves that the slot was filled"]
pub struct Filled<'id, 's, T: ShmSafe> {
    at: NonNull<T>,
    access: Access<'s>,
    _brand: PhantomData<fn(&'id ()) -> &'id ()>,
    _slot: PhantomData<&'s mut T>,
}

impl<'id, 's, T: ShmSafe> Slot<'id, 's, T> {
    /// Builds the value.
    ///
    /// # Errors
    /// The initialiser's.
    pub fn fill(self, init: impl Init<T>) -> Result<Filled<'id, 's, T>> {
        // SAFETY: `with` passes on its own slot, and this consumes the only handle to it.
        unsafe { init.init(self.at.as_ptr(), self.access)? };
        Ok(Filled { at: self.at, access: self.access, _brand: PhantomData, _slot: PhantomData })
    }
}

impl<T: ShmSafe> Filled<'_, '_, T> {
    /// A view of the new value, to go on building with.
    pub fn view(&mut self) -> T::Mut<'_> {
        // SAFETY: the value is initialised and nobody else knows it yet.
        unsafe { T::view(self.at, self.access) }
    }
}

impl<T: ShmSafe> Drop for Filled<'_, '_, T> {
    fn drop(&mut self) {
        // SAFETY: the value is initialised and nobody will use it: a returned proof is forgotten, not dropped.
        unsafe { self.at.drop_in_place() }
    }
}

struct With<F>(F);

// SAFETY: 1: the closure can only return the proof of this very slot (its brand is unique). 2: a `Filled` that is
// not returned destroys its value; an unfilled slot was not touched. 3: by the inner initialiser.
unsafe impl<T, F> Init<T> for With<F>
where
    T: ShmSafe,
    F: for<'id, 's> FnOnce(Slot<'id, 's, T>) -> Result<Filled<'id, 's, T>>,
{
    unsafe fn init(self, slot: *mut T, access: Access<'_>) -> Result<()> {
        // SAFETY: a slot is never null.
        let at = unsafe { NonNull::new_unchecked(slot) };
        let filled = (self.0)(Slot { at, access, _brand: PhantomData })?;
        let _ = ManuallyDrop::new(filled);
        Ok(())
    }
}

/// An initialiser made of a closure, which may decide what to build, build other things first, and fail.
///
/// ```
/// use shmem_core::{Segment, ShmString, init};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let greeting = segment.construct::<ShmString>(
///     "greeting",
///     init::with(|slot| slot.fill(if cfg!(unix) { "hello, unix" } else { "hello" })),
/// )?;
/// assert_eq!(&**greeting, "hello, unix");
/// # Ok(())
/// # }
/// ```
pub fn with<T, F>(fill: F) -> impl Init<T>
where
    T: ShmSafe,
    F: for<'id, 's> FnOnce(Slot<'id, 's, T>) -> Result<Filled<'id, 's, T>>,
{
    With(fill)
}

struct TryWith<F>(F);

// SAFETY: 1: a movable value. 2: a failing closure wrote nothing.
unsafe impl<T, E, F> Init<T> for TryWith<F>
where
    T: ShmSafe + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: FnOnce() -> std::result::Result<T, E>,
{
    unsafe fn init(self, slot: *mut T, _: Access<'_>) -> Result<()> {
        let value = (self.0)().map_err(Error::init)?;
        // SAFETY: the slot is valid for writes.
        unsafe { slot.write(value) };
        Ok(())
    }
}

/// An initialiser that computes a movable value only when it is needed, and may fail.
pub fn from_fn<T, E, F>(make: F) -> impl Init<T>
where
    T: ShmSafe + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: FnOnce() -> std::result::Result<T, E>,
{
    TryWith(make)
}

/// An array under construction: drops what was built if it is dropped itself.
pub(crate) struct Partial<T> {
    first: *mut T,
    built: usize,
}

impl<T: ShmSafe> Partial<T> {
    pub(crate) fn new(first: *mut T) -> Self {
        Partial { first, built: 0 }
    }

    /// Builds the next element.
    ///
    /// # Safety
    /// 1. There is room for it at `first + built`.
    pub(crate) unsafe fn push(&mut self, init: impl Init<T>, access: Access<'_>) -> Result<()> {
        // SAFETY: 1.
        unsafe { init.init(self.first.add(self.built), access)? };
        self.built += 1;
        Ok(())
    }

    /// The array is whole: nothing is dropped.
    pub(crate) fn finish(self) -> usize {
        ManuallyDrop::new(self).built
    }
}

impl<T> Drop for Partial<T> {
    fn drop(&mut self) {
        // SAFETY: the first `built` elements are initialised and known to nobody else.
        unsafe { ptr::slice_from_raw_parts_mut(self.first, self.built).drop_in_place() }
    }
}

struct Array<A, const N: usize>([A; N]);

// SAFETY: 1: every element was built. 2: `Partial` drops what was built. 3: by the elements' initialisers.
unsafe impl<T: ShmSafe, A: Init<T>, const N: usize> Init<[T; N]> for Array<A, N> {
    unsafe fn init(self, slot: *mut [T; N], access: Access<'_>) -> Result<()> {
        let mut partial = Partial::new(slot.cast::<T>());
        for init in self.0 {
            // SAFETY: the slot has room for `N` elements.
            unsafe { partial.push(init, access)? };
        }
        partial.finish();
        Ok(())
    }
}

/// An initialiser of an array, from one initialiser for each element.
///
/// ```
/// use shmem_core::{Segment, ShmString, init};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let names = segment.construct::<[ShmString; 2]>("names", init::array(["Ada", "Grace"]))?;
/// assert_eq!(&*names[1], "Grace");
/// # Ok(())
/// # }
/// ```
pub fn array<T: ShmSafe, A: Init<T>, const N: usize>(each: [A; N]) -> impl Init<[T; N]> {
    Array(each)
}

struct ArrayFromFn<F>(F);

// SAFETY: as for `Array`.
unsafe impl<T: ShmSafe, I: Init<T>, F: FnMut(usize) -> I, const N: usize> Init<[T; N]> for ArrayFromFn<F> {
    unsafe fn init(mut self, slot: *mut [T; N], access: Access<'_>) -> Result<()> {
        let mut partial = Partial::new(slot.cast::<T>());
        for i in 0..N {
            // SAFETY: the slot has room for `N` elements.
            unsafe { partial.push((self.0)(i), access)? };
        }
        partial.finish();
        Ok(())
    }
}

/// An initialiser of an array, from a function of the index. Nothing of the array stands on the stack.
pub fn array_from_fn<T: ShmSafe, I: Init<T>, const N: usize>(
    each: impl FnMut(usize) -> I,
) -> impl Init<[T; N]> {
    ArrayFromFn(each)
}

/// An initialiser of a container, from the items of an iterator: see [`from_iter`].
#[derive(Debug, Clone)]
pub struct FromIter<I>(pub(crate) I);

/// An initialiser of a container from an iterator of initialisers (pairs of them for a map).
///
/// ```
/// use shmem_core::{Segment, ShmVec, init};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let squares = segment.construct::<ShmVec<u64>>("squares", init::from_iter((0..4).map(|n| n * n)))?;
/// assert_eq!(&squares[..], [0, 1, 4, 9]);
/// # Ok(())
/// # }
/// ```
pub fn from_iter<I: IntoIterator>(items: I) -> FromIter<I::IntoIter> {
    FromIter(items.into_iter())
}

/// Builds a value outside the segment, for code that must have it whole before it changes anything.
///
/// The value is address-sensitive: it may only be relocated to where it belongs, or dropped here.
pub(crate) struct Scratch<'a, T: ShmSafe> {
    value: Box<std::mem::MaybeUninit<T>>,
    access: Access<'a>,
}

impl<'a, T: ShmSafe> Scratch<'a, T> {
    /// Builds it.
    pub(crate) fn build(init: impl Init<T>, access: Access<'a>) -> Result<Self> {
        let mut value = Box::<T>::new_uninit();
        let slot = value.as_mut_ptr();
        // What was built when a later part fails is dropped here, and its destructors may need the segment.
        // SAFETY: the box is valid for writes and ours.
        standing_in(slot, access, || unsafe { init.init(slot, access) })?;
        Ok(Scratch { value, access })
    }

    /// Moves the value to `to`.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::relocate`], 1 to 3 about `to`.
    pub(crate) unsafe fn place(self, to: *mut T) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: 1; the value is initialised, and a lock built just now is not held.
        unsafe { T::relocate(this.value.as_mut_ptr(), to) };
        // SAFETY: the box is not used again; its value was moved out and `MaybeUninit` drops nothing.
        drop(unsafe { ptr::read(&raw const this.value) });
    }

    /// Moves the value at `from` into a scratch place, to be dropped there.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::relocate`] about `from`; `from` is then overwritten or forgotten.
    pub(crate) unsafe fn take(from: *mut T, access: Access<'a>) -> Self {
        let mut value = Box::<T>::new_uninit();
        // SAFETY: 1.
        unsafe { T::relocate(from, value.as_mut_ptr()) };
        Scratch { value, access }
    }
}

impl<T: ShmSafe> Drop for Scratch<'_, T> {
    /// Drops the value here, outside its segment. Unlike a plain drop it lets a [`ShmDrop`](super::ShmDrop) work on
    /// what the value owns.
    fn drop(&mut self) {
        let at = self.value.as_mut_ptr();
        // SAFETY: the value is initialised and was neither moved nor dropped.
        standing_in(at, self.access, || unsafe { at.drop_in_place() });
    }
}

/// The largest value that [`Place`] keeps on the stack, in bytes.
const INLINE_BYTES: usize = 256;

/// Room for one value on the stack; a value larger than [`INLINE_BYTES`] or more aligned than 16 gets a box.
///
/// As [`Scratch`], but without an allocation for the small values that most keys and elements are. The room must
/// not move while a value stands in it, hence the two steps.
pub(crate) struct Place<T: ShmSafe> {
    inline: MaybeUninit<Inline>,
    boxed: Option<Box<MaybeUninit<T>>>,
}

#[repr(C, align(16))]
struct Inline([u8; INLINE_BYTES]);

impl<T: ShmSafe> Place<T> {
    const FITS: bool = size_of::<T>() <= INLINE_BYTES && align_of::<T>() <= align_of::<Inline>();

    /// Empty room.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Place {
            inline: MaybeUninit::uninit(),
            boxed: if Self::FITS { None } else { Some(Box::new_uninit()) },
        }
    }

    #[inline(always)]
    fn slot(&mut self) -> NonNull<T> {
        match &mut self.boxed {
            Some(boxed) => NonNull::from(&mut **boxed).cast(),
            None => NonNull::from(&mut self.inline).cast(),
        }
    }

    /// Builds a value here.
    #[inline(always)]
    pub(crate) fn build<'p>(&'p mut self, init: impl Init<T>, access: Access<'p>) -> Result<Built<'p, T>> {
        let at = self.slot();
        // What was built when a later part fails is dropped here, and its destructors may need the segment.
        // SAFETY: the room is valid for writes, ours, large and aligned enough.
        standing_in(at.as_ptr(), access, || unsafe { init.init(at.as_ptr(), access) })?;
        Ok(Built { at, access, _place: PhantomData })
    }

    /// Moves the value at `from` here, to be dropped.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::relocate`] about `from`; `from` is then overwritten or forgotten.
    #[inline(always)]
    pub(crate) unsafe fn take<'p>(&'p mut self, from: *mut T, access: Access<'p>) -> Built<'p, T> {
        let at = self.slot();
        // SAFETY: 1; the room is ours.
        unsafe { T::relocate(from, at.as_ptr()) };
        Built { at, access, _place: PhantomData }
    }
}

/// A value that stands in a [`Place`]. It may only be moved to where it belongs, or dropped.
pub(crate) struct Built<'p, T: ShmSafe> {
    at: NonNull<T>,
    access: Access<'p>,
    _place: PhantomData<&'p mut T>,
}

impl<T: ShmSafe> Built<'_, T> {
    /// The value.
    #[inline(always)]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: initialised, and borrowed by `self`.
        unsafe { self.at.as_ref() }
    }

    /// Moves the value to `to`.
    ///
    /// # Safety
    /// 1. As [`ShmSafe::relocate`], 1 to 3 about `to`.
    #[inline(always)]
    pub(crate) unsafe fn place(self, to: *mut T) {
        let this = ManuallyDrop::new(self);
        // SAFETY: 1; the value is initialised, and a lock built just now is not held.
        unsafe { T::relocate(this.at.as_ptr(), to) };
    }
}

impl<T: ShmSafe> Drop for Built<'_, T> {
    /// Drops the value here, outside its segment, as [`Scratch`] does.
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the value is initialised and was neither moved nor dropped.
        standing_in(self.at.as_ptr(), self.access, || unsafe { self.at.drop_in_place() });
    }
}

/// Replaces the value at `at` by what `init` builds: what every `set` of a guard or container does.
///
/// The new value is built first, the old one dropped last, when no stored pointer names it.
///
/// # Errors
/// The initialiser's, or [`Error::LockHeld`]; the old value stays.
///
/// # Crash safety
/// CRASH replace: a process killed inside leaves the old value, the new one, or a value that is memory-safe but
/// logically incomplete, or that a walk reports (see [`ShmSafe`], 7); what neither owns is leaked until leak recovery.
///
/// # Safety
/// 1. `at` points to a valid value to which the caller has exclusive access, in the segment of `access`.
pub(crate) unsafe fn replace<T: ShmSafe>(
    at: NonNull<T>,
    init: impl Init<T>,
    access: Access<'_>,
) -> Result<()> {
    if !Place::<T>::FITS {
        // SAFETY: 1.
        return unsafe { replace_large(at, init, access) };
    }
    let (mut new, mut old) = (Place::new(), Place::new());
    let new = new.build(init, access)?;
    // SAFETY: 1.
    if T::HAS_LOCKS && unsafe { T::lock_held(at.as_ptr()) } {
        return Err(Error::LockHeld);
    }
    // SAFETY: 1; no lock inside is held; the place is overwritten next.
    unsafe {
        access.save_value(at.as_ptr());
        let old = old.take(at.as_ptr(), access);
        new.place(at.as_ptr());
        drop(old);
    }
    Ok(())
}

/// [`replace`] for values that are kept off the stack.
///
/// # Safety
/// As for `replace`.
unsafe fn replace_large<T: ShmSafe>(at: NonNull<T>, init: impl Init<T>, access: Access<'_>) -> Result<()> {
    let new = Scratch::build(init, access)?;
    // SAFETY: 1 of `replace`.
    if T::HAS_LOCKS && unsafe { T::lock_held(at.as_ptr()) } {
        return Err(Error::LockHeld);
    }
    // SAFETY: 1 of `replace`; no lock inside is held; the place is overwritten next.
    unsafe {
        access.save_value(at.as_ptr());
        let old = Scratch::take(at.as_ptr(), access);
        new.place(at.as_ptr());
        drop(old);
    }
    Ok(())
}
