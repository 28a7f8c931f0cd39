//! [`VecMut`]: exclusive access to a [`ShmVec`].
//!
//! This file needs `unsafe`: it writes the vector's block and publishes lengths.

use super::{ShmVec, VecIterMut, store};
use crate::access::Access;
use crate::error::{AllocError, Error, Result};
use crate::layout::init::{Init, Scratch, replace};
use crate::layout::{ShmSafe, any_lock_held, relocate_many};
use crate::ptr::OffsetPtr;
use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Index, IndexMut, Range, RangeBounds};
use std::ptr::{self, NonNull};
use std::slice::{self, SliceIndex};

/// Exclusive access to a [`ShmVec`]. It dereferences to the vector, for reading.
///
/// Names and behaviour are `Vec`'s, but that whatever may need memory or move an element gives a `Result`, and
/// that elements which cannot be moved out of shared memory (those that are not `Unpin`) are destroyed in place:
/// `remove_drop` instead of `remove`.
///
/// # Errors
/// Where a method gives a `Result` and says no more: [`AllocError`] if memory is needed and cannot be had;
/// [`Error::LockHeld`] if an element holds a lock that is held, since it can be neither moved nor dropped; the
/// initialiser's own. The contents are then as they were.
///
/// # Crash safety
/// A process killed inside an operation leaves the vector as before or as after it, except where an operation says
/// otherwise; what is then in neither is leaked until leak recovery.
pub struct VecMut<'a, T: ShmSafe> {
    at: NonNull<ShmVec<T>>,
    access: Access<'a>,
    _vec: PhantomData<&'a mut ShmVec<T>>,
}

// SAFETY: it is a unique reference to the vector; its context holds no thread's state.
unsafe impl<T: ShmSafe> Send for VecMut<'_, T> {}
// SAFETY: shared, it only gives `&ShmVec<T>`.
unsafe impl<T: ShmSafe + Sync> Sync for VecMut<'_, T> {}

/// `slice::range` without its unstable name.
///
/// # Panics
/// As slicing does.
pub(in crate::container) fn checked_range(range: impl RangeBounds<usize>, len: usize) -> Range<usize> {
    use std::ops::Bound::*;
    let start = match range.start_bound() {
        Included(&start) => start,
        Excluded(&start) => start.checked_add(1).expect("a range that starts beyond usize::MAX"),
        Unbounded => 0,
    };
    let end = match range.end_bound() {
        Included(&end) => end.checked_add(1).expect("a range that ends beyond usize::MAX"),
        Excluded(&end) => end,
        Unbounded => len,
    };
    assert!(start <= end, "range starts at {start} but ends at {end}");
    assert!(end <= len, "range end {end} is out of range for a length of {len}");
    start..end
}

#[cold]
fn held() -> ! {
    panic!("an element to be destroyed holds a locked lock")
}

/// From so many bytes on a vector grows by less, where it stands.
const LARGE: usize = 1 << 20;

impl<'a, T: ShmSafe> VecMut<'a, T> {
    /// # Safety
    /// 1. As for [`ShmSafe::view`].
    #[inline]
    pub(super) unsafe fn new(at: NonNull<ShmVec<T>>, access: Access<'a>) -> Self {
        VecMut { at, access, _vec: PhantomData }
    }

    /// The place of element `i`.
    ///
    /// # Safety
    /// 1. `i <= capacity`.
    #[inline]
    pub(super) unsafe fn place(&self, i: usize) -> *mut T {
        // SAFETY: 1: inside the block or one behind it.
        unsafe { self.first().add(i) }
    }

    /// Sets the length to 0 without destroying the elements, of a vector that is no part of a segment yet.
    ///
    /// # Safety
    /// 1. The elements were moved out.
    pub(in crate::container) unsafe fn forget_elements(&mut self) {
        // SAFETY: none is left; nobody else knows the vector, so there is nothing to save.
        unsafe { self.set_len(0) }
    }

    #[inline]
    pub(super) fn access(&self) -> Access<'a> {
        self.access
    }

    /// Announces that the length will be overwritten.
    #[inline]
    pub(super) fn save_len(&self) {
        // SAFETY: the vector is readable.
        unsafe { self.access.save_value(&raw const (*self.at.as_ptr()).len) }
    }

    /// Announces that elements, or spare places, will be overwritten.
    #[inline]
    pub(super) fn save_places(&self, range: Range<usize>) {
        // SAFETY: places below the capacity are readable.
        unsafe { self.access.save(self.place(range.start), range.len() * size_of::<T>()) }
    }

    /// Publishes a length.
    ///
    /// # Safety
    /// 1. The first `len` elements are valid. 2. The old length was saved.
    #[inline]
    pub(super) unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: the vector is exclusively ours.
        unsafe { store(&raw mut (*self.at.as_ptr()).len, len as u64) }
    }

    /// Publishes a block that holds the elements, in such an order that every prefix is a valid vector.
    ///
    /// # Safety
    /// 1. `first` has room for `cap >= len` values and holds the elements; null if `cap` is 0.
    /// 2. The caller frees the old block.
    unsafe fn set_block(&mut self, first: *mut T, cap: usize) {
        let at = self.at.as_ptr();
        // SAFETY: the vector is readable and exclusively ours; the block by 1. The smaller capacity is stored while
        // either block stands: it is true of both.
        unsafe {
            self.access.save_value(at);
            if cap < self.cap as usize {
                store(&raw mut (*at).cap, cap as u64);
                OffsetPtr::store(&raw mut (*at).ptr, first);
            } else {
                OffsetPtr::store(&raw mut (*at).ptr, first);
                store(&raw mut (*at).cap, cap as u64);
            }
        }
    }

    /// Publishes a block that holds the elements, and frees the old one.
    ///
    /// # Safety
    /// 1. As 1 of `set_block`.
    pub(super) unsafe fn replace_block(&mut self, first: *mut T, cap: usize) {
        let old = (self.first(), self.cap as usize);
        // SAFETY: 1; the old block was the vector's, its elements were moved out, and nothing names it any more.
        unsafe {
            self.set_block(first, cap);
            if old.1 > 0 {
                self.access.deallocate_array(NonNull::new_unchecked(old.0), old.1);
            }
        }
    }

    /// Makes room for `capacity` elements, more than there is room for, where the vector's block stands; whether it could.
    fn grow_where_it_stands(&mut self, capacity: usize) -> bool {
        let old = self.cap as usize;
        let Some(wanted) = capacity.checked_mul(size_of::<T>()).filter(|_| old > 0) else { return false };
        // SAFETY: the block was allocated with this layout.
        let layout = unsafe { Layout::from_size_align_unchecked(old * size_of::<T>(), align_of::<T>()) };
        // SAFETY: it is the vector's own live block.
        let grown =
            unsafe { self.access.grow_in_place(NonNull::new_unchecked(self.first()).cast(), layout, wanted) };
        if let Some(usable) = grown {
            let cap = (usable / size_of::<T>()) as u64;
            // SAFETY: the vector is ours; its block has that room now. No undo log is in force, or the block would not
            // have grown.
            unsafe { store(&raw mut (*self.at.as_ptr()).cap, cap) };
        }
        grown.is_some()
    }

    /// Makes room for `capacity` elements, of which the first `live` (published or not) are kept.
    fn set_capacity(&mut self, live: usize, capacity: usize) -> Result<()> {
        if capacity > self.cap as usize && self.grow_where_it_stands(capacity) {
            return Ok(());
        }
        // SAFETY: the first `live` elements are valid and exclusively ours.
        if unsafe { any_lock_held(self.first(), live) } {
            return Err(Error::LockHeld);
        }
        let (block, room) = self.access.allocate_array::<T>(capacity)?;
        // SAFETY: the new block has room for them; no lock is held; the old block is freed without them.
        unsafe {
            relocate_many(self.first(), block.as_ptr(), live);
            self.replace_block(block.as_ptr(), room);
        }
        Ok(())
    }

    /// Makes room for `extra` elements behind the first `live`: a large block becomes a sixteenth longer where it stands, if it
    /// can, or else the capacity is at least doubled.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, live: usize, extra: usize) -> Result<()> {
        let too_large = AllocError::TooLarge { wanted_bytes: u64::MAX, align: align_of::<T>() as u32 };
        let wanted = live.checked_add(extra).ok_or(too_large)?;
        let least = if size_of::<T>() == 1 { 8 } else { 4 };
        let (capacity, bytes) = (self.capacity(), self.capacity().saturating_mul(size_of::<T>()));
        // Nothing is moved then, and memory costs when it is had, used or not.
        if bytes >= LARGE && self.grow_where_it_stands(wanted.max(capacity + capacity / 16)) {
            return Ok(());
        }
        let ample = wanted.max(capacity.saturating_mul(2)).max(least);
        match self.set_capacity(live, ample) {
            // What is left may still do for what is needed.
            Err(e) if e.is_out_of_memory() && wanted < ample => self.set_capacity(live, wanted),
            result => result,
        }
    }

    /// Makes room for at least `additional` more elements, where the vector's block stands if that can be; grows at least
    /// twofold, but from 1 MiB on, where it stands, by a sixteenth.
    ///
    /// # Errors
    /// See [`VecMut`].
    #[inline]
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        let len = self.len();
        if additional > self.capacity() - len { self.grow(len, additional) } else { Ok(()) }
    }

    /// Makes room for `additional` more elements and few beyond.
    ///
    /// # Errors
    /// See [`VecMut`].
    pub fn reserve_exact(&mut self, additional: usize) -> Result<()> {
        let len = self.len();
        if additional <= self.capacity() - len {
            return Ok(());
        }
        self.set_capacity(len, len.saturating_add(additional))
    }

    /// Gives back the room that is not used: the end of a large block, else by moving the elements into a smaller one.
    ///
    /// # Errors
    /// See [`VecMut`].
    pub fn shrink_to_fit(&mut self) -> Result<()> {
        self.shrink_to(0)
    }

    /// Gives back room beyond the larger of the length and `capacity`.
    ///
    /// # Errors
    /// See [`VecMut`].
    pub fn shrink_to(&mut self, capacity: usize) -> Result<()> {
        let (len, old) = (self.len(), self.cap as usize);
        let wanted = capacity.max(len);
        if wanted >= old {
            return Ok(());
        }
        if wanted == 0 {
            // SAFETY: empty.
            unsafe { self.replace_block(ptr::null_mut(), 0) };
            return Ok(());
        }
        if self.shrink_in_place(wanted) {
            return Ok(());
        }
        // SAFETY: the elements are valid and exclusively ours.
        if unsafe { any_lock_held(self.first(), len) } {
            return Err(Error::LockHeld);
        }
        let (block, room) = self.access.allocate_array::<T>(wanted)?;
        if room >= old {
            // SAFETY: allocated above, named nowhere.
            unsafe { self.access.deallocate_array(block, room) };
            return Ok(());
        }
        // SAFETY: as in `set_capacity`.
        unsafe {
            relocate_many(self.first(), block.as_ptr(), len);
            self.replace_block(block.as_ptr(), room);
        }
        Ok(())
    }

    /// Gives back room beyond `wanted` elements, 1 or more, where the block stands; whether the heap could.
    fn shrink_in_place(&mut self, wanted: usize) -> bool {
        let (at, old) = (self.at.as_ptr(), self.cap as usize);
        // SAFETY: the block was allocated with this layout.
        let layout = unsafe { Layout::from_size_align_unchecked(old * size_of::<T>(), align_of::<T>()) };
        // CRASH shrink: the smaller capacity is stored while the block still has the larger one: it is true of both.
        let publish = |usable: usize| {
            // SAFETY: the vector is ours. No undo log is in force, or the block would not become smaller.
            unsafe { store(&raw mut (*at).cap, (usable / size_of::<T>()) as u64) }
        };
        // SAFETY: it is the vector's own live block, of which no element stands beyond `wanted`.
        unsafe {
            let first = NonNull::new_unchecked(self.first()).cast();
            self.access.shrink_in_place(first, layout, wanted * size_of::<T>(), publish).is_some()
        }
    }

    /// Appends an element. Amortised constant time; allocates when the capacity is used up.
    ///
    /// # Errors
    /// See [`VecMut`].
    #[inline]
    pub fn push(&mut self, value: impl Init<T>) -> Result<()> {
        let len = self.len();
        if len == self.capacity() {
            self.grow(len, 1)?;
        }
        // SAFETY: there is room, so there is a block; the element is valid when it is published, by one store.
        unsafe {
            let place = match size_of::<T>() {
                0 => ptr::dangling_mut(),
                _ => self.ptr.as_ptr_unchecked().add(len),
            };
            self.access.save_value(place);
            self.save_len();
            value.init(place, self.access)?;
            self.set_len(len + 1);
        }
        Ok(())
    }

    /// Takes the last element out.
    #[inline]
    pub fn pop(&mut self) -> Option<T>
    where
        T: Unpin,
    {
        let len = self.len().checked_sub(1)?;
        self.save_len();
        // SAFETY: the last element is valid and movable, and is not the vector's any more once it is returned.
        unsafe {
            self.set_len(len);
            Some(self.place(len).read())
        }
    }

    /// Destroys the last element; gives whether there was one.
    ///
    /// # Panics
    /// If it holds a lock that is held; nothing has changed then.
    pub fn pop_drop(&mut self) -> bool {
        let len = self.len();
        self.truncate(len.saturating_sub(1));
        len > 0
    }

    /// Destroys all elements but the first `len`. The capacity stays.
    ///
    /// # Panics
    /// If one of them holds a lock that is held; nothing has changed then.
    pub fn truncate(&mut self, len: usize) {
        let old = self.len();
        if len >= old {
            return;
        }
        // SAFETY: the elements are valid and exclusively ours; they are destroyed when the vector is without them.
        unsafe {
            let tail = ptr::slice_from_raw_parts_mut(self.place(len), old - len);
            if any_lock_held(tail.cast::<T>(), old - len) {
                held();
            }
            self.save_len();
            self.set_len(len);
            tail.drop_in_place();
        }
    }

    /// Destroys all elements. The capacity stays.
    ///
    /// # Panics
    /// As [`truncate`](Self::truncate).
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Inserts an element before element `i`, shifting what follows.
    ///
    /// # Errors
    /// See [`VecMut`].
    ///
    /// # Panics
    /// If `i` is beyond the length.
    ///
    /// # Crash safety
    /// CRASH vec_insert: a process killed while elements are shifted leaves the elements before `i`.
    pub fn insert(&mut self, i: usize, value: impl Init<T>) -> Result<()> {
        let len = self.len();
        assert!(i <= len, "insertion index {i} is out of range for a length of {len}");
        if i == len {
            return self.push(value);
        }
        let new = Scratch::build(value, self.access)?;
        // SAFETY: the elements are valid and exclusively ours.
        if unsafe { any_lock_held(self.place(i), len - i) } {
            return Err(Error::LockHeld);
        }
        self.reserve(1)?;
        self.save_len();
        self.save_places(i..len + 1);
        // CRASH vec_insert: while elements are shifted, those from `i` on stand beyond the length.
        // SAFETY: there is room; no lock inside them is held; each element is moved once.
        unsafe {
            self.set_len(i);
            self.shift_up(i, len);
            new.place(self.place(i));
            self.set_len(len + 1);
        }
        Ok(())
    }

    /// Moves the elements of `from..to` one place up.
    ///
    /// # Safety
    /// 1. They stand beyond the length, are valid, and place `to` is free.
    unsafe fn shift_up(&mut self, from: usize, to: usize) {
        // SAFETY: 1.
        unsafe {
            if T::PLAIN {
                ptr::copy(self.place(from), self.place(from + 1), to - from);
            } else {
                for i in (from..to).rev() {
                    T::relocate(self.place(i), self.place(i + 1));
                }
            }
        }
    }

    /// Moves the elements of `from` down to begin at `to`.
    ///
    /// # Safety
    /// 1. They stand beyond the length and are valid; the places below, from `to` on, are free.
    pub(super) unsafe fn shift_down(&mut self, from: Range<usize>, to: usize) {
        // SAFETY: 1.
        unsafe {
            if T::PLAIN {
                ptr::copy(self.place(from.start), self.place(to), from.len());
            } else if from.start != to {
                for (k, i) in from.enumerate() {
                    T::relocate(self.place(i), self.place(to + k));
                }
            }
        }
    }

    /// Takes element `i` out, shifting what follows.
    ///
    /// # Panics
    /// If `i` is out of range.
    ///
    /// # Crash safety
    /// CRASH vec_remove: a process killed while elements are shifted leaves the elements before `i`.
    pub fn remove(&mut self, i: usize) -> T
    where
        T: Unpin,
    {
        let len = self.len();
        assert!(i < len, "removal index {i} is out of range for a length of {len}");
        self.save_len();
        self.save_places(i..len);
        // SAFETY: the element is valid and movable; it is overwritten or left beyond the length.
        unsafe {
            let value = self.place(i).read();
            // CRASH vec_remove: while elements are shifted, those from `i` on stand beyond the length.
            self.set_len(i);
            self.shift_down(i + 1..len, i);
            self.set_len(len - 1);
            value
        }
    }

    /// Takes element `i` out and puts the last one in its place.
    ///
    /// # Panics
    /// If `i` is out of range.
    ///
    /// # Crash safety
    /// CRASH vec_remove: a process killed inside may leave the elements before `i`.
    pub fn swap_remove(&mut self, i: usize) -> T
    where
        T: Unpin,
    {
        let len = self.len();
        assert!(i < len, "removal index {i} is out of range for a length of {len}");
        self.save_len();
        self.save_places(i..i + 1);
        // SAFETY: as for `remove`.
        unsafe {
            let value = self.place(i).read();
            self.set_len(i);
            ptr::copy(self.place(len - 1), self.place(i), 1);
            self.set_len(len - 1);
            value
        }
    }

    /// Destroys element `i`, shifting what follows: `remove` for elements that cannot be moved out.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Panics
    /// If `i` is out of range.
    ///
    /// # Crash safety
    /// As [`remove_range`](Self::remove_range).
    pub fn remove_drop(&mut self, i: usize) -> Result<()> {
        let len = self.len();
        assert!(i < len, "removal index {i} is out of range for a length of {len}");
        self.remove_range(i..i + 1)
    }

    /// Destroys element `i` and puts the last one in its place.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Panics
    /// If `i` is out of range.
    ///
    /// # Crash safety
    /// CRASH vec_remove: a process killed inside may leave the elements before `i`.
    pub fn swap_remove_drop(&mut self, i: usize) -> Result<()> {
        let len = self.len();
        assert!(i < len, "removal index {i} is out of range for a length of {len}");
        // SAFETY: both elements are valid and exclusively ours.
        if unsafe { any_lock_held(self.place(i), 1) || any_lock_held(self.place(len - 1), 1) } {
            return Err(Error::LockHeld);
        }
        self.save_len();
        self.save_places(i..i + 1);
        // SAFETY: see `Gap`: the last element fills the gap, those between stand.
        unsafe {
            self.set_len(i);
            let gap = Gap { at: i, from: (len - 1).max(i + 1)..len, len: len - 1, vec: self };
            gap.vec.place(i).drop_in_place();
        }
        Ok(())
    }

    /// Destroys the elements of a range, shifting what follows.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Panics
    /// If the range does not lie within the vector.
    ///
    /// # Crash safety
    /// CRASH vec_remove: a process killed inside may leave only the elements before the range.
    pub fn remove_range(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let len = self.len();
        let Range { start, end } = checked_range(range, len);
        // SAFETY: the elements are valid and exclusively ours.
        if unsafe { any_lock_held(self.place(start), len - start) } {
            return Err(Error::LockHeld);
        }
        if start == end {
            return Ok(());
        }
        self.save_len();
        self.save_places(start..len);
        // CRASH vec_remove: while elements are destroyed and shifted, they stand beyond the length.
        // SAFETY: they are destroyed once; the gap closes over them even if a destructor panics.
        unsafe {
            self.set_len(start);
            let gap = Gap { at: start, from: end..len, len: len - (end - start), vec: self };
            ptr::slice_from_raw_parts_mut(gap.vec.place(start), end - start).drop_in_place();
        }
        Ok(())
    }

    /// Takes the elements of a range out, all at once into private memory.
    ///
    /// # Panics
    /// If the range does not lie within the vector.
    ///
    /// # Crash safety
    /// As [`remove_range`](Self::remove_range).
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> std::vec::IntoIter<T>
    where
        T: Unpin,
    {
        let len = self.len();
        let Range { start, end } = checked_range(range, len);
        let mut taken = Vec::with_capacity(end - start);
        self.save_len();
        self.save_places(start..len);
        // CRASH vec_remove: while elements are shifted, they stand beyond the length.
        // SAFETY: movable elements, moved to `taken`, which has room; their places are closed over.
        unsafe {
            self.set_len(start);
            ptr::copy_nonoverlapping(self.place(start), taken.as_mut_ptr(), end - start);
            taken.set_len(end - start);
            self.shift_down(end..len, start);
            self.set_len(len - (end - start));
        }
        taken.into_iter()
    }

    /// Appends what an iterator gives, all of it or, on failure, nothing.
    ///
    /// The iterator runs before anything is published; its `size_hint` is only a hint.
    ///
    /// # Errors
    /// See [`VecMut`].
    pub fn extend<I: IntoIterator<Item: Init<T>>>(&mut self, items: I) -> Result<()> {
        let items = items.into_iter();
        let hint = items.size_hint().0;
        let room = self.spare_capacity();
        let mut tail = Tail { built: 0, vec: self };
        // A hint may be wild, so it gets no more than a modest share; beyond that the vector grows as it fills.
        let modest = (64 << 10) / size_of::<T>().max(1);
        if hint > room && room < modest {
            // Failing to reserve is no failure yet: there may be fewer items.
            let _ = tail.vec.reserve(hint.min(modest));
        }
        for item in items {
            tail.push(item)?;
        }
        tail.finish();
        Ok(())
    }

    /// Appends a copy of a slice, at the speed of `memcpy`.
    ///
    /// # Errors
    /// See [`VecMut`].
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<()>
    where
        T: Copy,
    {
        self.reserve(elements.len())?;
        let len = self.len();
        self.save_places(len..len + elements.len());
        self.save_len();
        // SAFETY: there is room; `Copy` values are their bytes; nobody else holds a reference into our block.
        unsafe {
            ptr::copy_nonoverlapping(elements.as_ptr(), self.place(len), elements.len());
            self.set_len(len + elements.len());
        }
        Ok(())
    }

    /// Makes the length `len`: destroys what is beyond, or appends copies of an initialiser's value.
    ///
    /// # Errors
    /// See [`VecMut`].
    ///
    /// # Panics
    /// As [`truncate`](Self::truncate).
    pub fn resize<I: Init<T> + Clone>(&mut self, len: usize, value: I) -> Result<()> {
        self.resize_with(len, || value.clone())
    }

    /// Makes the length `len`: destroys what is beyond, or appends what `make`'s initialisers build.
    ///
    /// # Errors
    /// See [`VecMut`].
    ///
    /// # Panics
    /// As [`truncate`](Self::truncate).
    pub fn resize_with<I: Init<T>>(&mut self, len: usize, mut make: impl FnMut() -> I) -> Result<()> {
        let old = self.len();
        if len <= old {
            self.truncate(len);
            return Ok(());
        }
        self.reserve(len - old)?;
        self.extend((old..len).map(|_| make()))
    }

    /// Moves all elements of `other`, a vector of the same segment, to the end of this one.
    ///
    /// # Errors
    /// [`Error::OtherSegment`] if they stand in different segments; and see [`VecMut`].
    ///
    /// # Crash safety
    /// CRASH vec_append: a process killed inside may leave the elements in neither vector, leaked; never in both.
    pub fn append(&mut self, other: &mut VecMut<'_, T>) -> Result<()> {
        other.split_off(0, self)
    }

    /// Moves the elements from `at` on to the end of `into`, a vector of the same segment.
    ///
    /// # Errors
    /// [`Error::OtherSegment`] if they stand in different segments; and see [`VecMut`].
    ///
    /// # Panics
    /// If `at` is beyond the length.
    ///
    /// # Crash safety
    /// As [`append`](Self::append).
    pub fn split_off(&mut self, at: usize, into: &mut VecMut<'_, T>) -> Result<()> {
        let len = self.len();
        assert!(at <= len, "split index {at} is out of range for a length of {len}");
        if !self.access.same_segment(&into.access) {
            return Err(Error::OtherSegment);
        }
        if at == len {
            return Ok(());
        }
        // SAFETY: the elements are valid and exclusively ours.
        if unsafe { any_lock_held(self.place(at), len - at) } {
            return Err(Error::LockHeld);
        }
        into.reserve(len - at)?;
        let end = into.len();
        self.save_len();
        into.save_places(end..end + (len - at));
        into.save_len();
        // The elements as the other vector's mapping shows them, which may be another one of the same segment.
        // SAFETY: `at` is in bounds.
        let from = unsafe { self.place(at) };
        let from = match self.access.context().offset_of(from.cast()) {
            // SAFETY: an offset valid in one mapping of the segment is valid in the other.
            Some(offset) => unsafe { into.access.context().base().add(offset as usize) }.cast(),
            None => from,
        };
        // CRASH vec_append: while they are moved, the elements stand beyond both lengths.
        // SAFETY: there is room behind `into`; what they own lies in its mapping; no lock inside them is held.
        unsafe {
            self.set_len(at);
            relocate_many(from, into.place(end), len - at);
            into.set_len(end + (len - at));
        }
        Ok(())
    }

    /// Replaces element `i`.
    ///
    /// # Errors
    /// See [`VecMut`].
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
        unsafe { replace(NonNull::new_unchecked(self.place(i)), value, self.access) }
    }

    /// The view of element `i`, `None` beyond the end.
    #[inline]
    pub fn get_mut(&mut self, i: usize) -> Option<T::Mut<'_>> {
        // SAFETY: the element is valid and, through `self`, exclusively ours.
        (i < self.len()).then(|| unsafe { T::view(NonNull::new_unchecked(self.place(i)), self.access) })
    }

    /// The view of the first element.
    pub fn first_mut(&mut self) -> Option<T::Mut<'_>> {
        self.get_mut(0)
    }

    /// The view of the last element.
    pub fn last_mut(&mut self) -> Option<T::Mut<'_>> {
        self.get_mut(self.len().checked_sub(1)?)
    }

    /// The views of all elements, in order.
    #[inline]
    pub fn iter_mut(&mut self) -> VecIterMut<'_, T> {
        // SAFETY: the elements are valid and, through `self`, exclusively ours.
        unsafe { VecIterMut::new(self.first(), self.len(), self.access) }
    }

    /// All elements as a slice, which counts as overwriting them.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T]
    where
        T: Unpin,
    {
        let len = self.len();
        self.save_places(0..len);
        // SAFETY: valid and exclusively ours; movable, so swapping elements is harmless.
        unsafe { slice::from_raw_parts_mut(self.first(), len) }
    }
}

/// Closes a gap when dropped, also while a destructor's panic unwinds.
struct Gap<'v, 'a, T: ShmSafe> {
    vec: &'v mut VecMut<'a, T>,
    /// Where the gap begins.
    at: usize,
    /// The elements that move to there.
    from: Range<usize>,
    /// The length then.
    len: usize,
}

impl<T: ShmSafe> Drop for Gap<'_, '_, T> {
    fn drop(&mut self) {
        // SAFETY: the elements of the gap are destroyed, those behind stand beyond the length; all was saved.
        unsafe {
            self.vec.shift_down(self.from.clone(), self.at);
            self.vec.set_len(self.len);
        }
    }
}

/// Elements being built behind the published ones: dropped unless published.
struct Tail<'v, 'a, T: ShmSafe> {
    vec: &'v mut VecMut<'a, T>,
    built: usize,
}

impl<T: ShmSafe> Tail<'_, '_, T> {
    #[inline]
    fn push(&mut self, value: impl Init<T>) -> Result<()> {
        let at = self.vec.len() + self.built;
        if at == self.vec.capacity() {
            self.vec.grow(at, 1)?;
        }
        self.vec.save_places(at..at + 1);
        // SAFETY: there is room.
        unsafe { value.init(self.vec.place(at), self.vec.access)? };
        self.built += 1;
        Ok(())
    }

    /// Publishes all of them with one store.
    fn finish(self) {
        let this = ManuallyDrop::new(self);
        let vec = &this.vec;
        vec.save_len();
        let len = vec.len() + this.built;
        // SAFETY: all of them are valid; the vector is exclusively ours.
        unsafe { store(&raw mut (*vec.at.as_ptr()).len, len as u64) }
    }
}

impl<T: ShmSafe> Drop for Tail<'_, '_, T> {
    fn drop(&mut self) {
        // SAFETY: they are valid, nobody knows them, and they stand beyond the length.
        unsafe {
            ptr::slice_from_raw_parts_mut(self.vec.place(self.vec.len()), self.built).drop_in_place();
        }
    }
}

impl<T: ShmSafe> Deref for VecMut<'_, T> {
    type Target = ShmVec<T>;
    #[inline]
    fn deref(&self) -> &ShmVec<T> {
        // SAFETY: valid, and no view of an element is alive while `self` is borrowed.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ShmSafe, I: SliceIndex<[T]>> Index<I> for VecMut<'_, T> {
    type Output = I::Output;
    #[inline]
    fn index(&self, i: I) -> &I::Output {
        &self.as_slice()[i]
    }
}

impl<T: ShmSafe + Unpin, I: SliceIndex<[T]>> IndexMut<I> for VecMut<'_, T> {
    #[inline]
    fn index_mut(&mut self, i: I) -> &mut I::Output {
        // SAFETY: valid and exclusively ours; movable.
        let part = &mut unsafe { slice::from_raw_parts_mut(self.first(), self.len()) }[i];
        // SAFETY: readable; it is about to be handed out, and nothing has changed yet.
        unsafe { self.access.save(&raw const *part, size_of_val(part)) };
        part
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for VecMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}
