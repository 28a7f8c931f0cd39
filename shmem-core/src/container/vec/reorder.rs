//! Operations of [`VecMut`] that reorder or sift: sort, reverse, rotate, swap, retain, dedup.
//!
//! This file needs `unsafe`: it moves elements.

use super::VecMut;
use crate::error::{Error, Result};
use crate::layout::init::Scratch;
use crate::layout::{ShmSafe, any_lock_held};
use std::cmp::Ordering;
use std::ops::Range;
use std::slice;

/// A kind of element whose order can be changed where it stands, bitwise.
const fn in_place<T: ShmSafe>() -> bool {
    T::PLAIN && !T::HAS_LOCKS
}

/// Destroys the places of a list, also while a destructor's panic unwinds.
struct DropEach<'d, 'v, 'a, T: ShmSafe> {
    vec: &'v VecMut<'a, T>,
    doomed: slice::Iter<'d, Range<usize>>,
}

impl<T: ShmSafe> Drop for DropEach<'_, '_, '_, T> {
    fn drop(&mut self) {
        while let Some(range) = self.doomed.next() {
            let on_panic = DropEach { vec: self.vec, doomed: self.doomed.clone() };
            // SAFETY: by `sift`: valid elements beyond the length, destroyed once.
            unsafe {
                std::ptr::slice_from_raw_parts_mut(self.vec.place(range.start), range.len()).drop_in_place();
            }
            std::mem::forget(on_panic);
        }
    }
}

/// Moves what is kept together when dropped, also while a destructor's panic unwinds.
struct Compact<'d, 'v, 'a, T: ShmSafe> {
    vec: &'v mut VecMut<'a, T>,
    doomed: &'d [Range<usize>],
    len: usize,
}

impl<T: ShmSafe> Drop for Compact<'_, '_, '_, T> {
    fn drop(&mut self) {
        let mut to = self.doomed[0].start;
        for (k, gap) in self.doomed.iter().enumerate() {
            let next = self.doomed.get(k + 1).map_or(self.len, |next| next.start);
            // SAFETY: what stands in the gaps is destroyed; the rest is valid, beyond the length, and saved.
            unsafe { self.vec.shift_down(gap.end..next, to) };
            to += next - gap.end;
        }
        // SAFETY: the kept elements are valid and stand together.
        unsafe { self.vec.set_len(to) };
    }
}

impl<T: ShmSafe> VecMut<'_, T> {
    /// Whether an element holds a lock that is held.
    fn check_locks(&self, range: Range<usize>) -> Result<()> {
        // SAFETY: the elements are valid and exclusively ours.
        match unsafe { any_lock_held(self.place(range.start), range.len()) } {
            true => Err(Error::LockHeld),
            false => Ok(()),
        }
    }

    /// Destroys the elements of ascending, disjoint, non-empty ranges and closes the gaps.
    fn sift(&mut self, doomed: &[Range<usize>]) -> Result<()> {
        let Some(first) = doomed.first() else { return Ok(()) };
        let (start, len) = (first.start, self.len());
        self.check_locks(start..len)?;
        self.save_len();
        self.save_places(start..len);
        // CRASH vec_remove: while elements are destroyed and shifted, they stand beyond the length.
        // SAFETY: a prefix of the elements; the length was saved.
        unsafe { self.set_len(start) };
        let compact = Compact { vec: self, doomed, len };
        drop(DropEach { vec: compact.vec, doomed: doomed.iter() });
        Ok(())
    }

    /// Keeps the elements for which `keep` holds, in order, and destroys the others.
    ///
    /// `keep` is asked about every element before anything is changed: if it panics, nothing is.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Crash safety
    /// As [`remove_range`](Self::remove_range).
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> Result<()> {
        let mut doomed = Vec::new();
        for (i, element) in self.iter().enumerate() {
            if !keep(element) {
                add(&mut doomed, i);
            }
        }
        self.sift(&doomed)
    }

    /// Destroys every element that `same` says is equal to the one kept before it.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Crash safety
    /// As [`remove_range`](Self::remove_range).
    pub fn dedup_by(&mut self, mut same: impl FnMut(&T, &T) -> bool) -> Result<()> {
        let mut doomed = Vec::new();
        let mut kept = 0;
        for i in 1..self.len() {
            if same(&self[i], &self[kept]) {
                add(&mut doomed, i);
            } else {
                kept = i;
            }
        }
        self.sift(&doomed)
    }

    /// Destroys every element whose key equals that of the one kept before it.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Crash safety
    /// As [`remove_range`](Self::remove_range).
    pub fn dedup_by_key<K: PartialEq>(&mut self, mut key: impl FnMut(&T) -> K) -> Result<()> {
        self.dedup_by(|a, b| key(a) == key(b))
    }

    /// Destroys every element equal to the one before it.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Crash safety
    /// As [`remove_range`](Self::remove_range).
    pub fn dedup(&mut self) -> Result<()>
    where
        T: PartialEq,
    {
        self.dedup_by(PartialEq::eq)
    }

    /// Exchanges elements `i` and `j`.
    ///
    /// # Errors
    /// [`Error::LockHeld`]; nothing has changed.
    ///
    /// # Panics
    /// If `i` or `j` is out of range.
    ///
    /// # Crash safety
    /// CRASH vec_swap: a process killed inside may leave only the elements before the first of the two.
    pub fn swap(&mut self, i: usize, j: usize) -> Result<()> {
        let len = self.len();
        assert!(i < len && j < len, "index {} is out of range for a length of {len}", i.max(j));
        if i == j {
            return Ok(());
        }
        self.check_locks(i..i + 1)?;
        self.check_locks(j..j + 1)?;
        self.save_len();
        self.save_places(i..i + 1);
        self.save_places(j..j + 1);
        // CRASH vec_swap: while they are moved, both stand beyond the length.
        // SAFETY: both are valid; each is moved once; no lock inside is held.
        unsafe {
            let (a, b) = (self.place(i), self.place(j));
            self.set_len(i.min(j));
            if T::PLAIN {
                std::ptr::swap_nonoverlapping(a, b, 1);
            } else {
                let first = Scratch::take(a, self.access());
                T::relocate(b, a);
                first.place(b);
            }
            self.set_len(len);
        }
        Ok(())
    }

    /// Puts the elements into another order: place `k` gets element `order[k]`. They are moved to a block of their
    /// own, which is published with one store.
    fn permute(&mut self, order: &[usize]) -> Result<()> {
        let len = self.len();
        self.check_locks(0..len)?;
        let (block, room) = self.access().allocate_array::<T>(self.capacity())?;
        // SAFETY: `order` is a permutation made by this file, so each element is moved once; the old block is freed
        // without them. Without size there is no block to replace.
        unsafe {
            for (k, i) in order.iter().enumerate() {
                T::relocate(self.place(*i), block.as_ptr().add(k));
            }
            self.replace_block(block.as_ptr(), room);
        }
        Ok(())
    }

    /// Reorders with `in_place` if elements may be moved bitwise, else by the permutation that `order` gives.
    fn reorder(
        &mut self,
        bitwise: impl FnOnce(&mut [T]),
        order: impl FnOnce(&[T], &mut [usize]),
    ) -> Result<()> {
        let len = self.len();
        if len < 2 || size_of::<T>() == 0 {
            return Ok(());
        }
        if in_place::<T>() {
            self.save_places(0..len);
            // SAFETY: valid, exclusively ours, and plain: our own code may move them bitwise.
            bitwise(unsafe { slice::from_raw_parts_mut(self.place(0), len) });
            return Ok(());
        }
        let mut indices: Vec<usize> = (0..len).collect();
        order(self, &mut indices);
        self.permute(&indices)
    }

    /// Reverses the order of the elements.
    ///
    /// # Errors
    /// See [`VecMut`]; elements that are not plain move to a new block.
    ///
    /// # Crash safety
    /// CRASH vec_reorder: of plain elements, a process killed inside leaves any mixture of the old and new order.
    pub fn reverse(&mut self) -> Result<()> {
        self.reorder(<[T]>::reverse, |_, order| order.reverse())
    }

    /// Rotates so that element `mid` comes first.
    ///
    /// # Errors
    /// See [`VecMut`]; elements that are not plain move to a new block.
    ///
    /// # Panics
    /// If `mid` is beyond the length.
    ///
    /// # Crash safety
    /// As [`reverse`](Self::reverse).
    pub fn rotate_left(&mut self, mid: usize) -> Result<()> {
        assert!(mid <= self.len(), "rotation by {mid} is out of range for a length of {}", self.len());
        self.reorder(|all| all.rotate_left(mid), |_, order| order.rotate_left(mid))
    }

    /// Rotates so that the last `k` elements come first.
    ///
    /// # Errors
    /// See [`VecMut`]; elements that are not plain move to a new block.
    ///
    /// # Panics
    /// If `k` is beyond the length.
    ///
    /// # Crash safety
    /// As [`reverse`](Self::reverse).
    pub fn rotate_right(&mut self, k: usize) -> Result<()> {
        let len = self.len();
        assert!(k <= len, "rotation by {k} is out of range for a length of {len}");
        self.rotate_left(len - k)
    }

    /// Sorts; equal elements keep their order. `compare` is user code and not trusted: an inconsistent order gives
    /// some order, a panic leaves the elements in some order.
    ///
    /// # Errors
    /// See [`VecMut`]; elements that are not plain move to a new block.
    ///
    /// # Crash safety
    /// As [`reverse`](Self::reverse).
    pub fn sort_by(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) -> Result<()> {
        // Only one of the two runs.
        let compare = std::cell::RefCell::new(&mut compare);
        self.reorder(
            |all| all.sort_by(|a, b| (compare.borrow_mut())(a, b)),
            |all, order| order.sort_by(|a, b| (compare.borrow_mut())(&all[*a], &all[*b])),
        )
    }

    /// Sorts by a key; equal elements keep their order.
    ///
    /// # Errors
    /// As [`sort_by`](Self::sort_by).
    ///
    /// # Crash safety
    /// As [`reverse`](Self::reverse).
    pub fn sort_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) -> Result<()> {
        self.sort_by(|a, b| key(a).cmp(&key(b)))
    }

    /// Sorts; equal elements keep their order.
    ///
    /// # Errors
    /// As [`sort_by`](Self::sort_by).
    ///
    /// # Crash safety
    /// As [`reverse`](Self::reverse).
    pub fn sort(&mut self) -> Result<()>
    where
        T: Ord,
    {
        self.sort_by(Ord::cmp)
    }
}

/// Adds `i` to ascending ranges.
fn add(ranges: &mut Vec<Range<usize>>, i: usize) {
    match ranges.last_mut() {
        Some(last) if last.end == i => last.end += 1,
        _ => ranges.push(i..i + 1),
    }
}
