//! [`ShmString`]: a growable UTF-8 string in shared memory, short ones inline.
//!
//! ```text
//!           byte 0            8             16                     23
//! inline    [ 23 bytes of text ......................... ] [0x80 | length]
//! on heap   [ offset        ][ length      ][ capacity (below 2^63)     ]
//! ```
//! The last byte's high bit tells which: numbers are little-endian, so it is the capacity's highest bit.
//!
//! This file needs `unsafe`: it implements an unsafe trait and reads the string's bytes.

mod init;
#[cfg(test)]
mod tests;
mod view;

pub use init::{EmptyString, StringPart};
pub use view::StringMut;

use super::drop_queue::destroy_block;
use super::vec::store;
use crate::access::Access;
use crate::layout::{ShmHash, ShmHasher, ShmSafe, TypeInfo, Visitor};
use crate::ptr::OffsetPtr;
use std::borrow::{Borrow, Cow};
use std::cmp;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::mem::offset_of;
use std::ops::{Deref, Index};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice::{self, SliceIndex};
use std::str;

/// The longest inline string in bytes.
const INLINE: usize = 23;
/// Where the byte that tells inline from heap stands.
const TAG_AT: usize = 23;
/// Set in the tag byte of an inline string.
const INLINE_TAG: u8 = 0x80;
/// The last word of an empty inline string.
const EMPTY: u64 = (INLINE_TAG as u64) << 56;

/// A growable UTF-8 string in shared memory: `String`, in 24 bytes, of which up to 23 hold a short string without
/// any block.
///
/// It is read as a `str`. It is built by an initialiser (`&str`, `String`, another `&ShmString`,
/// [`ShmString::new`], [`init::from_iter`](crate::init::from_iter)) and written through its view, [`StringMut`].
///
/// # Invariants
/// 1. If the last byte has its high bit set, its other bits are a length up to 23, and that many bytes from the
///    string's own first are its text.
/// 2. Else `ptr` leads to a block of its own of at least `cap > 0` bytes, of which the first `len <= cap` are its
///    text.
/// 3. The text is UTF-8.
///
/// # Examples
/// ```
/// use shmem_core::{Segment, ShmMutex, ShmString};
/// # fn main() -> shmem_core::Result<()> {
/// let segment = Segment::anonymous().size(1 << 20).create()?;
/// let name = segment.construct::<ShmMutex<ShmString>>("name", ShmMutex::new("Ada"))?;
/// let mut guard = name.lock()?;
/// guard.view().push_str(" Lovelace")?;
/// assert_eq!(guard.to_uppercase(), "ADA LOVELACE");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "basic_string")]
#[repr(C)]
pub struct ShmString {
    ptr: OffsetPtr<u8>,
    len: u64,
    cap: u64,
}

const _: () = {
    assert!(size_of::<ShmString>() == 24 && align_of::<ShmString>() == 8);
    assert!(offset_of!(ShmString, ptr) == 0);
    assert!(offset_of!(ShmString, len) == 8);
    assert!(offset_of!(ShmString, cap) == 16);
    assert!(cfg!(target_endian = "little"));
};

// SAFETY: it owns its text; whoever drops it finds the heap by address.
unsafe impl Send for ShmString {}
// SAFETY: shared, it only gives `&str`.
unsafe impl Sync for ShmString {}

// SAFETY: 1, 9: three fixed words, the pointer self-relative. 2: not plain, and `OffsetPtr` is not `Unpin`. 3, 5: text
// has neither parts nor locks. 6: see `StringMut`. 7, 8: see the methods. 10: see `Drop`.
unsafe impl ShmSafe for ShmString {
    const PLAIN: bool = false;
    const ANY_BITS: bool = false;
    type Parts = ();
    type Mut<'a> = StringMut<'a>;

    #[inline]
    unsafe fn view<'a>(at: NonNull<Self>, access: Access<'a>) -> StringMut<'a> {
        // SAFETY: by the caller.
        unsafe { StringMut::new(at, access) }
    }

    #[inline]
    unsafe fn relocate(from: *mut Self, to: *mut Self) {
        // SAFETY: both valid by the caller; any bits are words. An old value at `to` becomes the empty inline string
        // before its first words are replaced, so that every prefix is a valid string.
        unsafe {
            let (ptr, len, cap) = ((*from).ptr.as_ptr(), (*from).len, (*from).cap);
            store(&raw mut (*to).cap, EMPTY);
            if is_inline(cap) {
                store(to.cast(), from.cast::<u64>().read());
            } else {
                OffsetPtr::store(&raw mut (*to).ptr, ptr);
            }
            store(&raw mut (*to).len, len);
            store(&raw mut (*to).cap, cap);
        }
    }

    fn type_info() -> &'static TypeInfo {
        builtin_info!(ShmString, "ShmString")
    }

    unsafe fn visit(this: *const Self, visitor: &mut Visitor<'_>) {
        // SAFETY: readable by the caller; any bits are numbers.
        let (len, cap) = unsafe { ((&raw const (*this).len).read(), (&raw const (*this).cap).read()) };
        let text = if is_inline(cap) {
            let len = inline_len(cap);
            if len > INLINE {
                return visitor.invalid(this.cast(), "an inline string longer than 23 bytes");
            }
            // SAFETY: inside the string.
            unsafe { slice::from_raw_parts(this.cast::<u8>(), len) }
        } else {
            if cap == 0 || len > cap {
                return visitor.invalid(this.cast(), "a string's length larger than its capacity");
            }
            // SAFETY: readable by the caller.
            match unsafe { visitor.own_bytes(&raw const (*this).ptr, cap as usize) } {
                // SAFETY: a live block of at least `cap` bytes.
                Some(first) => unsafe { slice::from_raw_parts(first, len as usize) },
                None => return,
            }
        };
        if str::from_utf8(text).is_err() {
            visitor.invalid(this.cast(), "a string that is not UTF-8");
        }
    }
}

#[inline(always)]
fn is_inline(cap: u64) -> bool {
    (cap as i64) < 0
}

#[inline(always)]
fn inline_len(cap: u64) -> usize {
    (cap >> 56) as usize & 0x7f
}

impl ShmString {
    /// The text's first byte and its length.
    #[inline]
    fn raw(&self) -> (*mut u8, usize) {
        match is_inline(self.cap) {
            true => (ptr::from_ref(self).cast_mut().cast(), inline_len(self.cap)),
            false => (self.ptr.as_ptr(), self.len as usize),
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        let (first, len) = self.raw();
        // SAFETY: invariants 1 to 3.
        unsafe { str::from_utf8_unchecked(slice::from_raw_parts(first, len)) }
    }

    /// How many bytes there is room for without allocating; at least 23.
    #[inline]
    pub fn capacity(&self) -> usize {
        if is_inline(self.cap) { INLINE } else { self.cap as usize }
    }

    /// Whether the text stands in the string's own 24 bytes.
    #[inline]
    pub fn is_inline(&self) -> bool {
        is_inline(self.cap)
    }
}

impl Drop for ShmString {
    #[inline]
    fn drop(&mut self) {
        if !is_inline(self.cap)
            && let Some(block) = self.ptr.get()
        {
            // SAFETY: invariant 2; the string, which owned the block, is not used any more.
            unsafe { destroy_block(block, self.len as usize, self.cap as usize) }
        }
    }
}

impl Deref for ShmString {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// What reads as a `str`, a byte slice, …
macro_rules! as_ref {
    ($($target:ty)*) => { $(
        impl AsRef<$target> for ShmString {
            fn as_ref(&self) -> &$target {
                self.as_str().as_ref()
            }
        }
    )* };
}
as_ref!(str [u8] OsStr Path);

impl Borrow<str> for ShmString {
    fn borrow(&self) -> &str {
        self
    }
}

impl<I: SliceIndex<str>> Index<I> for ShmString {
    type Output = I::Output;
    fn index(&self, i: I) -> &I::Output {
        &self.as_str()[i]
    }
}

impl fmt::Debug for ShmString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for ShmString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Hash for ShmString {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl ShmHash for ShmString {
    /// As the `str`.
    #[inline]
    fn shm_hash(&self, hasher: &mut ShmHasher) {
        (**self).shm_hash(hasher);
    }
}

impl PartialEq for ShmString {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ShmString {}

impl PartialOrd for ShmString {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShmString {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// Comparison of two types that dereference to `str`.
macro_rules! eq {
    ($($left:ty, $right:ty;)*) => { $(
        impl PartialEq<$right> for $left {
            #[inline]
            fn eq(&self, other: &$right) -> bool {
                self[..] == other[..]
            }
        }
    )* };
}
eq! {
    ShmString, str;
    ShmString, &str;
    ShmString, String;
    ShmString, Cow<'_, str>;
    str, ShmString;
    &str, ShmString;
    String, ShmString;
    Cow<'_, str>, ShmString;
    StringMut<'_>, str;
    StringMut<'_>, &str;
    StringMut<'_>, String;
    StringMut<'_>, ShmString;
    StringMut<'_>, StringMut<'_>;
}

#[cfg(test)]
pub(crate) fn string_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(ShmString { ptr, len, cap })
}
