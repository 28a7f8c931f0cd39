//! [`StringMut`]: exclusive access to a [`ShmString`].
//!
//! This file needs `unsafe`: it writes the string's bytes and publishes lengths.

use super::{EMPTY, INLINE, INLINE_TAG, ShmString, StringPart, TAG_AT, is_inline, store};
use crate::access::Access;
use crate::container::vec::checked_range;
use crate::error::{AllocError, Result};
use crate::primitive::Ordering;
use crate::ptr::OffsetPtr;
use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range, RangeBounds};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU8;

/// Exclusive access to a [`ShmString`]. It dereferences to the string, for reading.
///
/// Names and behaviour are `String`'s, but that whatever may need memory gives a `Result`. It is a
/// [`fmt::Write`], whose error then means that memory could not be had.
///
/// # Errors
/// Where a method gives a `Result` and says no more: [`AllocError`]; the text is then as it was.
///
/// # Crash safety
/// CRASH string: a process killed inside an operation leaves the text as before or as after it, or, where bytes
/// within the text or the form (inline or heap) change, only what stands before them; always UTF-8. A block that is
/// then named by nobody is leaked until leak recovery.
pub struct StringMut<'a> {
    at: NonNull<ShmString>,
    access: Access<'a>,
    _string: PhantomData<&'a mut ShmString>,
}

// SAFETY: it is a unique reference to the string; its context holds no thread's state.
unsafe impl Send for StringMut<'_> {}
// SAFETY: shared, it only gives `&ShmString`.
unsafe impl Sync for StringMut<'_> {}

impl<'a> StringMut<'a> {
    /// # Safety
    /// 1. As for [`ShmSafe::view`](crate::ShmSafe::view).
    #[inline]
    pub(super) unsafe fn new(at: NonNull<ShmString>, access: Access<'a>) -> Self {
        StringMut { at, access, _string: PhantomData }
    }

    /// The text's first byte, for writing.
    #[inline]
    fn first(&self) -> *mut u8 {
        match self.is_inline() {
            true => self.at.as_ptr().cast(),
            false => self.ptr.as_ptr(),
        }
    }

    /// Announces that the string's own bytes, and those of `range` (which may be spare), will be overwritten.
    #[inline]
    fn save(&self, range: Range<usize>) {
        // SAFETY: the string is readable, and so are bytes below its capacity.
        unsafe {
            self.access.save_value(self.at.as_ptr());
            if !self.is_inline() {
                self.access.save(self.first().add(range.start), range.len());
            }
        }
    }

    /// Publishes a length, in the form the string has.
    ///
    /// # Safety
    /// 1. The first `len` bytes are UTF-8 and within the capacity. 2. The string was saved.
    #[inline]
    unsafe fn set_len(&mut self, len: usize) {
        let at = self.at.as_ptr();
        // SAFETY: the string is exclusively ours.
        unsafe {
            if self.is_inline() {
                let tag = AtomicU8::from_ptr(at.cast::<u8>().add(TAG_AT));
                // SYNC publish: as `store`, for the inline form's one byte.
                tag.store(INLINE_TAG | len as u8, Ordering::Release);
            } else {
                store(&raw mut (*at).len, len as u64);
            }
        }
    }

    /// Publishes a block that holds `len` bytes of text, and frees the old one.
    ///
    /// # Safety
    /// 1. The block has room for `cap >= len` bytes, `cap > 0`, and its first `len` are UTF-8.
    unsafe fn set_block(&mut self, block: NonNull<u8>, len: usize, cap: usize) {
        let (at, old_cap, old) = (self.at.as_ptr(), self.cap, self.ptr.as_ptr());
        // SAFETY: the string is readable and exclusively ours; the block by 1. CRASH string: while its first words
        // change, it is the empty inline string. The old block is freed when nothing names it.
        unsafe {
            self.access.save_value(at);
            store(&raw mut (*at).cap, EMPTY);
            OffsetPtr::store(&raw mut (*at).ptr, block.as_ptr());
            store(&raw mut (*at).len, len as u64);
            store(&raw mut (*at).cap, cap as u64);
            if !is_inline(old_cap) {
                self.access.deallocate_array(NonNull::new_unchecked(old), old_cap as usize);
            }
        }
    }

    /// Makes room for `capacity > INLINE` bytes.
    fn set_capacity(&mut self, capacity: usize) -> Result<()> {
        let len = self.len();
        if !self.is_inline() {
            let (first, old) = (self.first(), self.cap as usize);
            // SAFETY: the block was allocated with this layout.
            let layout = unsafe { Layout::from_size_align_unchecked(old, 1) };
            if capacity > old {
                // SAFETY: it is the string's own live block.
                let grown =
                    unsafe { self.access.grow_in_place(NonNull::new_unchecked(first), layout, capacity) };
                if let Some(usable) = grown {
                    // SAFETY: the string is ours; its block has that room now. No undo log is in force.
                    unsafe { store(&raw mut (*self.at.as_ptr()).cap, usable as u64) };
                    return Ok(());
                }
            } else if capacity < old {
                let at = self.at.as_ptr();
                // CRASH shrink: the smaller capacity is stored while the block still has the larger one: it is true of both.
                // SAFETY: the string is ours. No undo log is in force.
                let publish = |usable: usize| unsafe { store(&raw mut (*at).cap, usable as u64) };
                // SAFETY: it is the string's own live block, and the text ends before `capacity`.
                let shrunk = unsafe {
                    self.access.shrink_in_place(NonNull::new_unchecked(first), layout, capacity, publish)
                };
                if shrunk.is_some() {
                    return Ok(());
                }
            }
        }
        let (block, room) = self.access.allocate_array::<u8>(capacity)?;
        if room >= self.capacity() && capacity < self.capacity() {
            // Shrinking, to no gain.
            // SAFETY: allocated above, named nowhere.
            unsafe { self.access.deallocate_array(block, room) };
            return Ok(());
        }
        // SAFETY: the new block has room for the text.
        unsafe {
            ptr::copy_nonoverlapping(self.first(), block.as_ptr(), len);
            self.set_block(block, len, room);
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, extra: usize) -> Result<()> {
        let too_large = AllocError::TooLarge { wanted_bytes: u64::MAX, align: 1 };
        let wanted = self.len().checked_add(extra).ok_or(too_large)?;
        let ample = wanted.max(self.capacity().saturating_mul(2));
        match self.set_capacity(ample) {
            // What is left may still do for what is needed.
            Err(e) if e.is_out_of_memory() && wanted < ample => self.set_capacity(wanted),
            result => result,
        }
    }

    /// Makes room for at least `additional` more bytes; grows at least twofold.
    ///
    /// # Errors
    /// See [`StringMut`].
    #[inline]
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        if additional > self.capacity() - self.len() { self.grow(additional) } else { Ok(()) }
    }

    /// Gives back the room that is not used; a text of up to 23 bytes moves into the string itself.
    ///
    /// # Errors
    /// See [`StringMut`].
    pub fn shrink_to_fit(&mut self) -> Result<()> {
        let len = self.len();
        if self.is_inline() || len == self.capacity() {
            return Ok(());
        }
        if len > INLINE {
            return self.set_capacity(len);
        }
        let (at, block, cap) = (self.at.as_ptr(), self.first(), self.cap as usize);
        // SAFETY: the string is readable and exclusively ours. CRASH string: from the first store on it is an empty
        // inline string, until the text is there; the block is freed last.
        unsafe {
            self.access.save_value(at);
            store(&raw mut (*at).cap, EMPTY);
            let bytes = at.cast::<u8>();
            bytes.write_bytes(0, TAG_AT);
            ptr::copy_nonoverlapping(block, bytes, len);
            self.set_len(len);
            self.access.deallocate_array(NonNull::new_unchecked(block), cap);
        }
        Ok(())
    }

    /// Appends a text.
    ///
    /// # Errors
    /// See [`StringMut`].
    #[inline]
    pub fn push_str(&mut self, text: &str) -> Result<()> {
        self.reserve(text.len())?;
        let len = self.len();
        self.save(len..len + text.len());
        // SAFETY: there is room; the text is whole when it is published, by one store.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), self.first().add(len), text.len());
            self.set_len(len + text.len());
        }
        Ok(())
    }

    /// Appends a character.
    ///
    /// # Errors
    /// See [`StringMut`].
    #[inline]
    pub fn push(&mut self, c: char) -> Result<()> {
        self.push_str(c.encode_utf8(&mut [0; 4]))
    }

    /// Appends all pieces of an iterator or, on failure, none.
    ///
    /// # Errors
    /// See [`StringMut`].
    ///
    /// # Crash safety
    /// A process killed inside leaves a prefix of the pieces appended.
    pub fn extend<P: StringPart>(&mut self, parts: impl IntoIterator<Item = P>) -> Result<()> {
        struct Cut<'s, 'a>(&'s mut StringMut<'a>, usize);
        impl Drop for Cut<'_, '_> {
            fn drop(&mut self) {
                self.0.truncate(self.1);
            }
        }
        let len = self.len();
        let cut = Cut(self, len);
        for part in parts {
            part.with_str(|text| cut.0.push_str(text))?;
        }
        std::mem::forget(cut);
        Ok(())
    }

    /// Takes the last character off.
    pub fn pop(&mut self) -> Option<char> {
        let c = self.chars().next_back()?;
        self.truncate(self.len() - c.len_utf8());
        Some(c)
    }

    /// Cuts the text to its first `len` bytes. The capacity stays.
    ///
    /// # Panics
    /// If `len` is less than the length and no character boundary.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        assert!(self.is_char_boundary(len), "byte {len} is no character boundary");
        self.save(0..0);
        // SAFETY: a prefix of the text that ends at a character boundary.
        unsafe { self.set_len(len) };
    }

    /// Makes the text empty. The capacity stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Replaces the bytes of a range by a text: what all changes within the text are made of.
    fn splice(&mut self, range: Range<usize>, text: &str) -> Result<()> {
        let len = self.len();
        let new_len = len - range.len() + text.len();
        if new_len > self.capacity() {
            self.reserve(text.len() - range.len())?;
        }
        self.save(range.start..len.max(new_len));
        // CRASH string: while bytes move, the text ends before the range.
        // SAFETY: there is room; the parts lie in bounds; their ends are character boundaries, by the callers.
        unsafe {
            self.set_len(range.start);
            let first = self.first();
            let behind = range.start + text.len();
            ptr::copy(first.add(range.end), first.add(behind), len - range.end);
            ptr::copy_nonoverlapping(text.as_ptr(), first.add(range.start), text.len());
            self.set_len(new_len);
        }
        Ok(())
    }

    /// Inserts a text before byte `i`.
    ///
    /// # Errors
    /// See [`StringMut`].
    ///
    /// # Panics
    /// If `i` is no character boundary.
    pub fn insert_str(&mut self, i: usize, text: &str) -> Result<()> {
        assert!(self.is_char_boundary(i), "byte {i} is no character boundary");
        self.splice(i..i, text)
    }

    /// Inserts a character before byte `i`.
    ///
    /// # Errors
    /// See [`StringMut`].
    ///
    /// # Panics
    /// If `i` is no character boundary.
    pub fn insert(&mut self, i: usize, c: char) -> Result<()> {
        self.insert_str(i, c.encode_utf8(&mut [0; 4]))
    }

    /// Takes out the character at byte `i`.
    ///
    /// # Panics
    /// If no character begins there.
    pub fn remove(&mut self, i: usize) -> char {
        let c = self[i..].chars().next().expect("no character at the end of a string");
        self.shrink(i..i + c.len_utf8());
        c
    }

    /// Replaces a range by a text.
    ///
    /// # Errors
    /// See [`StringMut`].
    ///
    /// # Panics
    /// If the range is out of bounds or its ends are no character boundaries.
    pub fn replace_range(&mut self, range: impl RangeBounds<usize>, text: &str) -> Result<()> {
        let range = checked_range(range, self.len());
        let boundaries = self.is_char_boundary(range.start) && self.is_char_boundary(range.end);
        assert!(boundaries, "the ends of {range:?} are no character boundaries");
        self.splice(range, text)
    }

    /// Takes a range of bytes, whose ends are character boundaries, out.
    fn shrink(&mut self, range: Range<usize>) {
        let shorter = self.splice(range, "");
        debug_assert!(shorter.is_ok(), "a string that shrinks needs no memory");
    }

    /// Keeps the characters for which `keep` holds.
    ///
    /// `keep` is asked about every character before anything is changed: if it panics, nothing is.
    pub fn retain(&mut self, mut keep: impl FnMut(char) -> bool) {
        let kept: String = self.chars().filter(|c| keep(*c)).collect();
        if kept.len() < self.len() {
            let same = kept.bytes().zip(self.bytes()).take_while(|(a, b)| a == b).count();
            let same = (0..=same).rev().find(|i| kept.is_char_boundary(*i) && self.is_char_boundary(*i));
            let (same, len) = (same.unwrap_or(0), self.len());
            let shorter = self.splice(same..len, &kept[same..]);
            debug_assert!(shorter.is_ok(), "a string that shrinks needs no memory");
        }
    }

    /// Replaces the whole text; keeps the block if it is large enough.
    ///
    /// # Errors
    /// See [`StringMut`].
    pub fn set(&mut self, text: &str) -> Result<()> {
        if text.len() <= self.capacity() {
            return self.splice(0..self.len(), text);
        }
        let (block, room) = self.access.allocate_array::<u8>(text.len())?;
        // SAFETY: the block has room for the text.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), block.as_ptr(), text.len());
            self.set_block(block, text.len(), room);
        }
        Ok(())
    }

    /// The text's bytes, which counts as overwriting them.
    fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        self.save(0..len);
        // SAFETY: valid and exclusively ours; the callers keep them UTF-8 after each byte.
        unsafe { slice::from_raw_parts_mut(self.first(), len) }
    }

    /// Makes ASCII letters upper case.
    pub fn make_ascii_uppercase(&mut self) {
        self.bytes_mut().make_ascii_uppercase();
    }

    /// Makes ASCII letters lower case.
    pub fn make_ascii_lowercase(&mut self) {
        self.bytes_mut().make_ascii_lowercase();
    }
}

impl Deref for StringMut<'_> {
    type Target = ShmString;
    #[inline]
    fn deref(&self) -> &ShmString {
        // SAFETY: valid, and only this view changes it.
        unsafe { self.at.as_ref() }
    }
}

impl fmt::Write for StringMut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text).map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for StringMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for StringMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}
