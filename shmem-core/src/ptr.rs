//! [`OffsetPtr`]: a pointer that means the same in every mapping of a segment.
//!
//! This file needs `unsafe`: it turns stored offsets into pointers.

use crate::primitive::{AtomicI64, Ordering};
use std::marker::{PhantomData, PhantomPinned};
use std::ptr::{self, NonNull};

/// The stored offset that means null: no target can lie one byte behind its pointer's first byte.
const NULL: i64 = 1;

/// A self-relative pointer: it stores *target address − own address*, and 1 for null.
///
/// Because both addresses move together when a segment is mapped elsewhere, the pointer is valid at every
/// base. It is address-sensitive (not `Unpin`): only library code and `unsafe` code store one, in place.
/// It is the raw building block of containers; in user types use [`ShmBox`](crate::ShmBox).
///
/// Reading it costs one addition. Boost's name for it is `offset_ptr`; the encoding is the same.
#[doc(alias = "offset_ptr")]
#[repr(transparent)]
pub struct OffsetPtr<T> {
    offset: i64,
    _target: PhantomData<*mut T>,
    _address_sensitive: PhantomPinned,
}

const _: () = assert!(size_of::<OffsetPtr<u8>>() == 8 && align_of::<OffsetPtr<u8>>() == 8);

impl<T> OffsetPtr<T> {
    /// The target, or null.
    #[inline]
    pub fn as_ptr(&self) -> *mut T {
        Self::decode(ptr::from_ref(self), self.offset)
    }

    /// The target, without looking whether there is one.
    ///
    /// # Safety
    /// 1. It is not null.
    #[inline]
    pub(crate) unsafe fn as_ptr_unchecked(&self) -> *mut T {
        debug_assert!(!self.is_null());
        ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr().wrapping_add_signed(self.offset as isize))
    }

    /// The target, or `None` for null.
    #[inline]
    pub fn get(&self) -> Option<NonNull<T>> {
        NonNull::new(self.as_ptr())
    }

    /// Whether it points nowhere.
    #[inline]
    pub fn is_null(&self) -> bool {
        self.offset == NULL
    }

    /// The target of the pointer at `this`, or null, read without forming a reference: for bytes that may be
    /// damaged or that another thread may be changing.
    ///
    /// # Safety
    /// 1. `this` is valid for reads of 8 bytes and 8-aligned.
    #[inline]
    pub unsafe fn load(this: *const Self) -> *mut T {
        // SAFETY: 1 by the caller; mapped bytes are only ever accessed as atomics while shared.
        let word = unsafe { AtomicI64::from_ptr(this.cast_mut().cast()) };
        // SYNC publish: pairs with the Release store in `store`.
        Self::decode(this, word.load(Ordering::Acquire))
    }

    /// Points `this` at `to` (or nowhere, for null) with one Release store, so that whoever sees the pointer
    /// sees what stands behind it, and a process killed at any instruction has either published or not.
    ///
    /// # Safety
    /// 1. `this` is valid for writes of 8 bytes and 8-aligned; it may be uninitialised.
    /// 2. `to` is null or lies in the mapping that `this` stands in (or, while a value is being built outside
    ///    its segment, the mapping it is being built for), and has exposed provenance.
    #[inline]
    pub unsafe fn store(this: *mut Self, to: *mut T) {
        let offset = Self::encode(this, to);
        // SAFETY: 1.
        let word = unsafe { AtomicI64::from_ptr(this.cast()) };
        // SYNC publish: pairs with the Acquire load in `load`, and orders the target's bytes before it.
        word.store(offset, Ordering::Release);
    }

    /// The offset that means `to` when stored at `this`.
    #[inline]
    pub(crate) fn encode(this: *const Self, to: *const T) -> i64 {
        if to.is_null() { NULL } else { (to.addr() as i64).wrapping_sub(this.addr() as i64) }
    }

    /// The pointer that `offset` means when stored at `this`.
    #[inline]
    pub(crate) fn decode(this: *const Self, offset: i64) -> *mut T {
        if offset == NULL {
            return ptr::null_mut();
        }
        // The target lies outside `*this`, so it is reached by exposed provenance (mappings are exposed when
        // they are made), not by a pointer derived from `this`.
        ptr::with_exposed_provenance_mut(this.addr().wrapping_add_signed(offset as isize))
    }
}

impl<T> PartialEq for OffsetPtr<T> {
    /// Whether both point at the same address.
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.as_ptr(), other.as_ptr())
    }
}

impl<T> Eq for OffsetPtr<T> {}

impl<T> PartialOrd for OffsetPtr<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for OffsetPtr<T> {
    /// Orders by address, null first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_ptr().addr().cmp(&other.as_ptr().addr())
    }
}

impl<T> std::fmt::Debug for OffsetPtr<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_null() {
            true => f.write_str("OffsetPtr(null)"),
            false => write!(f, "OffsetPtr({:+#x})", self.offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;

    /// A pointer and its target, moved together as a segment is when it is mapped elsewhere.
    #[repr(C)]
    struct Pair {
        link: MaybeUninit<OffsetPtr<u64>>,
        value: u64,
    }

    fn pair(value: u64) -> Box<Pair> {
        let mut pair = Box::new(Pair { link: MaybeUninit::uninit(), value });
        (&raw mut *pair).expose_provenance();
        let to = &raw mut pair.value;
        // SAFETY: 1: the field is ours and aligned. 2: the target stands in the same box.
        unsafe { OffsetPtr::store(pair.link.as_mut_ptr(), to) };
        pair
    }

    #[test]
    fn a_byte_copy_points_into_the_copy() {
        let one = pair(7);
        let mut two = Box::new(MaybeUninit::<Pair>::uninit());
        two.as_mut_ptr().expose_provenance();
        // SAFETY: both are valid for one `Pair` and do not overlap; `one` is initialised.
        let two = unsafe {
            ptr::copy_nonoverlapping(&raw const *one, two.as_mut_ptr(), 1);
            two.assume_init()
        };
        // SAFETY: the link was initialised in `pair` and copied.
        let target = unsafe { two.link.assume_init_ref() }.as_ptr();
        assert!(ptr::eq(target, &raw const two.value));
        // SAFETY: the target is `two.value`, alive and initialised.
        assert_eq!(unsafe { *target }, 7);
    }

    #[test]
    fn null_is_one_and_compares_as_null() {
        let mut slot = MaybeUninit::<OffsetPtr<u64>>::uninit();
        // SAFETY: 1: the slot is ours. 2: null.
        unsafe { OffsetPtr::store(slot.as_mut_ptr(), ptr::null_mut()) };
        // SAFETY: just initialised.
        let p = unsafe { slot.assume_init_ref() };
        assert!(p.is_null() && p.get().is_none() && p.as_ptr().is_null());
        assert_eq!(p.offset, 1);
        assert_eq!(format!("{p:?}"), "OffsetPtr(null)");
        let other = pair(1);
        // SAFETY: initialised in `pair`.
        let other = unsafe { other.link.assume_init_ref() };
        assert!(p < other && p != other && p == p);
        assert_eq!(format!("{other:?}"), "OffsetPtr(+0x8)");
    }

    #[test]
    fn targets_before_and_behind_the_pointer() {
        let mut words = Box::new([0u64; 4]);
        let base = words.as_mut_ptr();
        base.expose_provenance();
        for at in 0..4 {
            for to in 0..4 {
                if at == to {
                    continue;
                }
                // SAFETY: both words lie in the array; the pointer takes one of them.
                let (slot, to) = unsafe { (base.add(at).cast::<OffsetPtr<u64>>(), base.add(to)) };
                // SAFETY: 1 and 2: see above.
                unsafe { OffsetPtr::store(slot, to) };
                // SAFETY: just stored.
                assert!(ptr::eq(unsafe { OffsetPtr::load(slot) }, to));
            }
        }
    }
}
