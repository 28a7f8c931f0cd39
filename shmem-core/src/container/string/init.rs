//! Initialisers of a [`ShmString`].
//!
//! This file needs `unsafe`: it writes uninitialised slots.

use super::{EMPTY, INLINE, INLINE_TAG, ShmString, StringMut, TAG_AT, store};
use crate::access::Access;
use crate::error::Result;
use crate::layout::init::{FromIter, Init};
use crate::layout::mirror::{Mirror, MirrorType};
use crate::layout::{ShmDefault, ShmSafe};
use crate::ptr::OffsetPtr;
use std::borrow::Cow;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// Initialiser of an empty [`ShmString`]: see [`ShmString::new`] and [`ShmString::with_capacity`].
#[derive(Debug, Clone, Copy)]
pub struct EmptyString {
    capacity: usize,
}

impl ShmString {
    /// An initialiser of an empty string, which allocates nothing.
    #[expect(clippy::new_ret_no_self, reason = "a string is built in place, so `new` gives its initialiser")]
    pub const fn new() -> EmptyString {
        Self::with_capacity(0)
    }

    /// An initialiser of an empty string with room for at least `capacity` bytes.
    pub const fn with_capacity(capacity: usize) -> EmptyString {
        EmptyString { capacity }
    }
}

/// Writes an empty string.
///
/// # Safety
/// 1. `slot` is valid for writes and aligned.
unsafe fn empty(slot: *mut ShmString) {
    // SAFETY: 1.
    unsafe {
        slot.cast::<u64>().write(0);
        (&raw mut (*slot).len).write(0);
        store(&raw mut (*slot).cap, EMPTY);
    }
}

/// Writes an empty string and fills it; if that fails or panics, it is dropped.
///
/// # Safety
/// 1. `slot` is valid for writes, aligned, and nobody else uses it; it is, or will be, in the segment of `access`.
unsafe fn build(
    slot: *mut ShmString,
    access: Access<'_>,
    fill: impl FnOnce(&mut StringMut<'_>) -> Result<()>,
) -> Result<()> {
    struct Whole(*mut ShmString);
    impl Drop for Whole {
        fn drop(&mut self) {
            // SAFETY: a valid string that nobody knows.
            unsafe { self.0.drop_in_place() }
        }
    }
    // SAFETY: 1.
    unsafe { empty(slot) };
    let whole = Whole(slot);
    // SAFETY: 1: a valid string now, and ours; a slot is never null.
    fill(&mut unsafe { StringMut::new(NonNull::new_unchecked(slot), access) })?;
    let _ = ManuallyDrop::new(whole);
    Ok(())
}

// SAFETY: 1: an empty string. 2: `build` drops what there is. 3: only the slot and its block.
unsafe impl Init<ShmString> for EmptyString {
    unsafe fn init(self, slot: *mut ShmString, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { build(slot, access, |string| string.reserve(self.capacity)) }
    }
}

impl ShmDefault for ShmString {
    /// Empty.
    fn shm_default() -> impl Init<Self> {
        ShmString::new()
    }
}

// SAFETY: 1: a string of this text. 2: the allocation comes first. 3: only the slot and its block.
unsafe impl Init<ShmString> for &str {
    #[inline]
    unsafe fn init(self, slot: *mut ShmString, access: Access<'_>) -> Result<()> {
        let len = self.len();
        if len <= INLINE {
            // SAFETY: the slot is valid for writes of 24 bytes; the text has at most 23.
            unsafe {
                let bytes = slot.cast::<u8>();
                bytes.write_bytes(0, TAG_AT);
                ptr::copy_nonoverlapping(self.as_ptr(), bytes, len);
                bytes.add(TAG_AT).write(INLINE_TAG | len as u8);
            }
            return Ok(());
        }
        let (block, room) = access.allocate_array::<u8>(len)?;
        // SAFETY: the block has room for the text; the slot is valid for writes.
        unsafe {
            ptr::copy_nonoverlapping(self.as_ptr(), block.as_ptr(), len);
            OffsetPtr::store(&raw mut (*slot).ptr, block.as_ptr());
            (&raw mut (*slot).len).write(len as u64);
            store(&raw mut (*slot).cap, room as u64);
        }
        Ok(())
    }
}

/// What gives a `str` builds what the `str` does.
macro_rules! as_str {
    ($($ty:ty)*) => { $(
        // SAFETY: as for the `str`.
        unsafe impl Init<ShmString> for $ty {
            #[inline]
            unsafe fn init(self, slot: *mut ShmString, access: Access<'_>) -> Result<()> {
                let text: &str = &self[..];
                // SAFETY: by the caller.
                unsafe { text.init(slot, access) }
            }
        }
    )* };
}
as_str!(String &String Box<str> Cow<'_, str> &Cow<'_, str> &ShmString &&str);

// SAFETY: as for the `str`.
unsafe impl Init<ShmString> for char {
    unsafe fn init(self, slot: *mut ShmString, access: Access<'_>) -> Result<()> {
        let mut bytes = [0; 4];
        let text: &str = self.encode_utf8(&mut bytes);
        // SAFETY: by the caller.
        unsafe { text.init(slot, access) }
    }
}

// SAFETY: 1: what `build` made. 2: it drops what there is. 3: only the slot and its blocks.
unsafe impl<I: Iterator<Item: StringPart>> Init<ShmString> for FromIter<I> {
    unsafe fn init(self, slot: *mut ShmString, access: Access<'_>) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { build(slot, access, |string| string.extend(self.0)) }
    }
}

/// Pieces that strings are made of: `char`, `&str`, `String` and their like.
pub trait StringPart {
    /// Calls `f` with the piece's text.
    fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R;
}

impl StringPart for char {
    fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        f(self.encode_utf8(&mut [0; 4]))
    }
}

macro_rules! string_part {
    ($($ty:ty)*) => { $(impl StringPart for $ty {
        fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
            f(&self[..])
        }
    })* };
}
string_part!(str String Box<str> Cow<'_, str> ShmString);

impl<P: StringPart + ?Sized> StringPart for &P {
    fn with_str<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        (**self).with_str(f)
    }
}

const _: () = assert!(!<ShmString as ShmSafe>::PLAIN);

macro_rules! mirror {
    ($($ty:ty)*) => { $(
        impl MirrorType for $ty {
            type Shm = ShmString;
        }
        impl Mirror for $ty {
            type Init<'a> = &'a str;
            fn mirror(&self) -> &str {
                self
            }
            fn to_native(shm: &ShmString) -> Self {
                shm.as_str().into()
            }
        }
    )* };
}
mirror!(String Box<str>);
