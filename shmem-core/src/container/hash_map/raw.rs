//! The table: a header, control bytes and buckets in one heap block, and how it is probed.
//!
//! The algorithm is that of Abseil's Swiss tables as hashbrown has it: a control byte for each bucket holds seven
//! bits of its key's hash, sixteen are compared at once, groups are probed in triangular steps.
//!
//! ```text
//! 0      8      16      24      32            40           48            48 + n + 16     (rounded up)
//! | mask | seed | limit | items | growth_left | tombstones | n + 16 control bytes | padding | n buckets (K, V) |
//! ```
//! `n = mask + 1` is a power of two, at least 4. Control byte `i >= max(n, 16)` mirrors that of bucket `i mod n`, so
//! that a group may be loaded at any bucket; in a table of fewer than 16 buckets the bytes from `n` to 15 are empty
//! and stay so.
//!
//! # Invariants
//! 1. `limit` is how many buckets may be taken (live or deleted): 7/8 of them, one less than all below 8. So a probe
//!    always finds an empty one.
//! 2. `growth_left` is never larger than the number of buckets that may still be taken.
//! 3. Between operations the table is *settled*: `items + growth_left + tombstones == limit`, each is true, and the
//!    mirror is exact. An operation takes from a counter *before* it changes a control byte and adds to another one
//!    *after*, so a process killed inside leaves a sum below `limit`: the next operation counts anew.
//! 4. A control byte is full only while its bucket holds a whole key and value; a mirror byte only while its bucket's
//!    own is.
//!
//! This file needs `unsafe`: it reads and writes shared memory through raw pointers.

use super::group::{DELETED, EMPTY, Group, Matches, WIDTH, is_full};
use crate::access::{Access, MAX_ALIGN};
use crate::error::{AllocError, Result};
use crate::layout::{ShmHash, ShmSafe, hash_one};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr::NonNull;
// Mapped bytes are always std's atomics.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The first bytes of a table's block.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Header {
    /// Buckets minus one.
    pub(super) mask: u64,
    /// The segment's hash seed, for those that read without an access context.
    pub(super) seed: u64,
    /// How many buckets may be taken.
    pub(super) limit: u64,
    /// Live buckets.
    pub(super) items: u64,
    /// Empty buckets that may still be taken.
    pub(super) growth_left: u64,
    /// Deleted buckets.
    pub(super) tombstones: u64,
}

const _: () = assert!(size_of::<Header>() == 48 && offset_of!(Header, tombstones) == 40);

/// Where the control bytes begin.
pub(super) const CTRL_AT: usize = size_of::<Header>();

/// A key and its value.
#[repr(C)]
pub(super) struct Bucket<K, V> {
    pub(super) key: K,
    pub(super) value: V,
}

/// How many of `mask + 1` buckets may be taken.
#[inline]
pub(super) fn limit_of(mask: usize) -> usize {
    if mask < 8 { mask } else { (mask + 1) / 8 * 7 }
}

/// The smallest number of buckets of which `items` may be taken.
fn buckets_for(items: usize) -> Option<usize> {
    match items {
        ..4 => Some(4),
        4..8 => Some(8),
        8..15 => Some(16),
        _ => (items.checked_mul(8)? / 7).checked_next_power_of_two(),
    }
}

/// What a search for a key found.
pub(super) enum Probe {
    /// The key, in this bucket.
    Found(usize),
    /// No such key; this bucket is free.
    Free(usize),
    /// No such key, and no free bucket (a table whose counters were damaged).
    Full,
}

/// A table in a segment: a copyable pointer. See [`Table::at`] for what its methods rely on.
pub(super) struct Table<K, V> {
    header: NonNull<Header>,
    /// As stored: a table's mask never changes.
    mask: usize,
    /// Where the buckets begin.
    buckets: NonNull<Bucket<K, V>>,
    _buckets: PhantomData<*mut Bucket<K, V>>,
}

impl<K, V> Clone for Table<K, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> Table<K, V> {
    const ALIGN: usize = {
        let align = if align_of::<Bucket<K, V>>() > 16 { align_of::<Bucket<K, V>>() } else { 16 };
        assert!(align <= MAX_ALIGN, "the alignment of a stored type is at most 4096");
        align
    };

    /// The table whose header stands at `header`.
    ///
    /// # Safety
    /// 1. A valid table of this type stands there, and is not freed while the result is used.
    /// 2. While a method that reads is running, nobody writes the table; while one that writes is, nobody else uses
    ///    it at all.
    #[inline(always)]
    pub(super) unsafe fn at(header: NonNull<Header>) -> Self {
        // SAFETY: 1.
        let mask = unsafe { (*header.as_ptr()).mask as usize };
        // SAFETY: 1: inside the block, or at its end for buckets without bytes.
        let buckets = unsafe { header.cast::<u8>().add(Self::buckets_at(mask)) }.cast();
        Table { header, mask, buckets, _buckets: PhantomData }
    }

    /// Where the header stands.
    #[inline(always)]
    pub(super) fn header(self) -> NonNull<Header> {
        self.header
    }

    /// Where the buckets of a table with this mask begin.
    #[inline(always)]
    pub(super) fn buckets_at(mask: usize) -> usize {
        let align = align_of::<Bucket<K, V>>();
        (CTRL_AT + WIDTH + mask + align) & !(align - 1)
    }

    /// The layout of a table with this mask, if there can be one.
    pub(super) fn layout(mask: usize) -> Option<Layout> {
        let buckets = mask.checked_add(1)?;
        // An upper bound first, with every overflow checked; the exact size is below it.
        let ctrl = buckets.checked_add(CTRL_AT + WIDTH + align_of::<Bucket<K, V>>())?;
        let size = buckets.checked_mul(size_of::<Bucket<K, V>>())?.checked_add(ctrl)?;
        let exact = Self::buckets_at(mask) + buckets * size_of::<Bucket<K, V>>();
        debug_assert!(exact <= size);
        Layout::from_size_align(exact, Self::ALIGN).ok()
    }

    /// The mask of the smallest table in which `items` buckets may be taken.
    pub(super) fn mask_for(items: usize) -> Option<usize> {
        Some(buckets_for(items)? - 1)
    }

    /// A new empty table in which `items` buckets may be taken. Nothing names it yet.
    pub(super) fn allocate(items: usize, access: Access<'_>) -> Result<Self> {
        let too_large = AllocError::TooLarge { wanted_bytes: u64::MAX, align: Self::ALIGN as u32 };
        let mask = Self::mask_for(items).ok_or(too_large)?;
        let layout = Self::layout(mask).ok_or(too_large)?;
        let header = access.allocate(layout)?.cast::<Header>();
        let limit = limit_of(mask) as u64;
        let fresh = Header {
            mask: mask as u64,
            seed: access.hash_seed(),
            limit,
            items: 0,
            growth_left: limit,
            tombstones: 0,
        };
        // SAFETY: the block is new, ours, and has room for the header and `mask + 1 + WIDTH` control bytes.
        unsafe {
            header.write(fresh);
            header.cast::<u8>().add(CTRL_AT).write_bytes(EMPTY, mask + 1 + WIDTH);
        }
        // SAFETY: 1: just made. 2: nobody else knows it.
        Ok(unsafe { Self::at(header) })
    }

    /// Gives the block back. What its buckets hold is not dropped.
    ///
    /// # Safety
    /// 1. No stored pointer names the table any more, and it is not used again.
    pub(super) unsafe fn free(self, access: Access<'_>) {
        let layout = Self::layout(self.mask()).expect("the table was allocated");
        // SAFETY: allocated with this layout (`allocate`); 1.
        unsafe { access.deallocate(self.header.cast(), layout) }
    }

    #[inline(always)]
    fn read(self) -> *const Header {
        self.header.as_ptr()
    }

    /// Buckets minus one.
    #[inline(always)]
    pub(super) fn mask(self) -> usize {
        self.mask
    }

    /// The seed keys are hashed with.
    #[inline(always)]
    pub(super) fn seed(self) -> u64 {
        // SAFETY: `at`, 1 and 2.
        unsafe { (*self.read()).seed }
    }

    /// The header's words.
    #[inline(always)]
    pub(super) fn counters(self) -> Header {
        // SAFETY: `at`, 1 and 2.
        unsafe { self.read().read() }
    }

    /// Whether no operation was cut short (invariant 3).
    #[inline(always)]
    pub(super) fn is_settled(self) -> bool {
        // SAFETY: `at`, 1 and 2.
        let header = unsafe { &*self.read() };
        header.items.wrapping_add(header.growth_left).wrapping_add(header.tombstones) == header.limit
    }

    /// Live buckets.
    #[inline]
    pub(super) fn len(self) -> usize {
        // SAFETY: `at`, 1 and 2.
        if self.is_settled() { unsafe { (*self.read()).items as usize } } else { self.count() }
    }

    /// Live buckets, counted.
    #[cold]
    fn count(self) -> usize {
        let mut live = 0;
        for first in (0..=self.mask()).step_by(WIDTH) {
            // SAFETY: the group is inside the control bytes, whose first is 16-aligned.
            live += unsafe { Group::load_aligned(self.ctrl(first)) }.full().count();
        }
        // In a table smaller than a group, the rest of the group is empty.
        live
    }

    /// The control byte `i`, which is below `mask + 1 + WIDTH`.
    #[inline(always)]
    pub(super) fn ctrl(self, i: usize) -> *mut u8 {
        // SAFETY: inside the block (`at`, 1).
        unsafe { self.header.as_ptr().cast::<u8>().add(CTRL_AT + i) }
    }

    /// Bucket `i`, which is at most `mask`.
    #[inline(always)]
    pub(super) fn bucket(self, i: usize) -> NonNull<Bucket<K, V>> {
        // SAFETY: inside the block (`at`, 1), or at its end for a bucket without bytes.
        unsafe { self.buckets.add(i) }
    }

    /// The bucket whose key has this hash and satisfies `eq`.
    ///
    /// `eq` may answer anything and panic: the table is only read, and every group at most once.
    #[inline(always)]
    pub(super) fn find(self, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Option<usize> {
        let (mask, tag) = (self.mask(), tag(hash));
        let (mut at, mut stride) = (hash as usize & mask, 0);
        loop {
            // SAFETY: `at <= mask`, and WIDTH more control bytes follow the last bucket's.
            let group = unsafe { Group::load(self.ctrl(at)) };
            let mut matches = group.matches(tag);
            while let Some(bit) = matches.lowest() {
                let i = (at + bit) & mask;
                // SAFETY: a full control byte has a whole bucket (invariant 4).
                if eq(unsafe { &(*self.bucket(i).as_ptr()).key }) {
                    return Some(i);
                }
                matches = matches.without_lowest();
            }
            if group.empty().any() {
                return None;
            }
            stride += WIDTH;
            if stride > mask {
                // All groups were looked at: without this, a damaged table would be searched for ever.
                return None;
            }
            at = (at + stride) & mask;
        }
    }

    /// As [`find`](Self::find), and if there is none, the first free bucket of the key's probe.
    #[inline(always)]
    pub(super) fn find_or_free(self, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Probe {
        let (mask, tag) = (self.mask(), tag(hash));
        let (mut at, mut stride) = (hash as usize & mask, 0);
        let mut free = usize::MAX;
        loop {
            // SAFETY: as in `find`.
            let group = unsafe { Group::load(self.ctrl(at)) };
            let mut matches = group.matches(tag);
            while let Some(bit) = matches.lowest() {
                let i = (at + bit) & mask;
                // SAFETY: a full control byte has a whole bucket (invariant 4).
                if eq(unsafe { &(*self.bucket(i).as_ptr()).key }) {
                    return Probe::Found(i);
                }
                matches = matches.without_lowest();
            }
            if free == usize::MAX
                && let Some(bit) = group.free().lowest()
            {
                free = (at + bit) & mask;
            }
            stride += WIDTH;
            // A free bucket ends the search only if it was never used: the key may stand behind a deleted one.
            if group.empty().any() || stride > mask {
                return if free == usize::MAX { Probe::Full } else { self.really_free(free) };
            }
            at = (at + stride) & mask;
        }
    }

    /// The first free bucket of the probe of `hash`, if any is free.
    #[inline(always)]
    pub(super) fn free_for(self, hash: u64) -> Option<usize> {
        let mask = self.mask();
        let (mut at, mut stride) = (hash as usize & mask, 0);
        loop {
            // SAFETY: as in `find`.
            if let Some(bit) = unsafe { Group::load(self.ctrl(at)) }.free().lowest() {
                return match self.really_free((at + bit) & mask) {
                    Probe::Free(i) => Some(i),
                    _ => None,
                };
            }
            stride += WIDTH;
            if stride > mask {
                return None;
            }
            at = (at + stride) & mask;
        }
    }

    /// In a table smaller than a group, a match behind the last bucket may have been wrapped to a live one: the
    /// first group then holds all buckets.
    #[inline(always)]
    fn really_free(self, i: usize) -> Probe {
        // SAFETY: `i <= mask`.
        if !is_full(unsafe { self.ctrl(i).read() }) {
            return Probe::Free(i);
        }
        // SAFETY: the first group is always there, aligned.
        match unsafe { Group::load_aligned(self.ctrl(0)) }.free().lowest() {
            Some(i) if i <= self.mask() => Probe::Free(i),
            _ => Probe::Full,
        }
    }

    /// Whether taking bucket `i`, which is free, needs a larger table.
    #[inline(always)]
    pub(super) fn must_grow(self, i: usize) -> bool {
        // SAFETY: `i <= mask`; `at`, 1 and 2.
        unsafe { (*self.read()).growth_left == 0 && self.ctrl(i).read() == EMPTY }
    }

    #[inline(always)]
    fn mirror(self, i: usize) -> usize {
        (i.wrapping_sub(WIDTH) & self.mask()) + WIDTH
    }

    /// Stores one control byte.
    ///
    /// # Safety
    /// 1. The table may be written; `i` is below `mask + 1 + WIDTH`.
    #[inline(always)]
    unsafe fn set_ctrl(self, i: usize, byte: u8) {
        #[cfg(test)]
        super::tests::step();
        // SYNC ctrl: Release, so that every earlier store (the bucket, the counter that was taken from) comes first.
        // SAFETY: 1.
        unsafe { AtomicU8::from_ptr(self.ctrl(i)) }.store(byte, Ordering::Release);
    }

    /// Adds to a counter of the header.
    ///
    /// # Safety
    /// 1. The table may be written; `offset` is that of a counter.
    #[inline(always)]
    unsafe fn count_by(self, offset: usize, by: i64) {
        #[cfg(test)]
        super::tests::step();
        // SAFETY: 1.
        unsafe {
            let word = self.header.as_ptr().cast::<u8>().add(offset).cast::<u64>();
            let sum = word.read().wrapping_add_signed(by);
            // SYNC ctrl: Release, so that it comes after the control byte where it is to.
            AtomicU64::from_ptr(word).store(sum, Ordering::Release);
        }
    }

    /// Announces what [`occupy`](Self::occupy) and [`vacate`](Self::vacate) of bucket `i` overwrite.
    ///
    /// # Safety
    /// 1. The table may be written; `i <= mask`; `access` is to its segment.
    #[inline(always)]
    pub(super) unsafe fn save(self, i: usize, access: Access<'_>) {
        // SAFETY: 1: all of it lies in the block.
        unsafe {
            access.save_value(self.read());
            access.save(self.ctrl(i), 1);
            access.save(self.ctrl(self.mirror(i)), 1);
            access.save_value(self.bucket(i).as_ptr());
        }
    }

    /// Makes bucket `i` live: one store publishes it.
    ///
    /// CRASH occupy: before the control byte, the map is as it was (the new key and value leak); after it, the key is
    /// there, though a probe that passes through the mirror may miss it. Either way the table is not settled, and
    /// the next operation that may write puts counters and mirror right. Test: `every_prefix_of_stores_is_a_table`.
    ///
    /// # Safety
    /// 1. The table may be written; bucket `i <= mask` is free and holds a whole key and value.
    /// 2. [`must_grow`](Self::must_grow) is false for it.
    #[inline(always)]
    pub(super) unsafe fn occupy(self, i: usize, hash: u64) {
        // SAFETY: 1.
        unsafe {
            if self.ctrl(i).read() == EMPTY {
                self.count_by(offset_of!(Header, growth_left), -1);
            } else {
                self.count_by(offset_of!(Header, tombstones), -1);
            }
            self.set_ctrl(i, tag(hash));
            self.set_ctrl(self.mirror(i), tag(hash));
            self.count_by(offset_of!(Header, items), 1);
        }
    }

    /// Makes bucket `i` free: one store takes its key out. What it holds is then the caller's to drop.
    ///
    /// CRASH vacate: before the bucket's own control byte is stored the key is there (though a probe through the
    /// mirror may miss it), after it, it is gone, and what was not dropped yet leaks. As for `occupy`, the next
    /// operation settles the table. Test: `every_prefix_of_stores_is_a_table`.
    ///
    /// # Safety
    /// 1. The table may be written; bucket `i <= mask` is live.
    #[inline(always)]
    pub(super) unsafe fn vacate(self, i: usize) {
        let before = i.wrapping_sub(WIDTH) & self.mask();
        // SAFETY: both are at most `mask`.
        let (before, after) =
            unsafe { (Group::load(self.ctrl(before)).empty(), Group::load(self.ctrl(i)).empty()) };
        // If the bucket lies in a run of 16 buckets that were all taken, a probe may have passed over it.
        let passed = before.none_from(after.leading_gap());
        // SAFETY: 1.
        unsafe {
            self.count_by(offset_of!(Header, items), -1);
            // Two branches, not two values: the address of the counter shall not wait for the control bytes.
            if passed {
                cold();
                self.clear_ctrl(i, DELETED);
                self.count_by(offset_of!(Header, tombstones), 1);
            } else {
                self.clear_ctrl(i, EMPTY);
                self.count_by(offset_of!(Header, growth_left), 1);
            }
        }
    }

    /// Stores the control byte of a bucket that is not live any more, the mirror first (invariant 4).
    ///
    /// # Safety
    /// 1. The table may be written; `i <= mask`.
    #[inline(always)]
    unsafe fn clear_ctrl(self, i: usize, byte: u8) {
        // SAFETY: 1.
        unsafe {
            self.set_ctrl(self.mirror(i), byte);
            self.set_ctrl(i, byte);
        }
    }

    /// Puts right what an operation that was cut short left: counters and mirror.
    ///
    /// # Safety
    /// 1. The table may be written; `access` is to its segment.
    #[cold]
    pub(super) unsafe fn settle(self, access: Access<'_>) {
        let buckets = self.mask() + 1;
        // SAFETY: 1; header and control bytes lie in the block.
        unsafe {
            access.save(self.read().cast::<u8>(), CTRL_AT + buckets + WIDTH);
            // No bucket may be taken while the true number is not known.
            let growth_left = &raw mut (*self.header.as_ptr()).growth_left;
            AtomicU64::from_ptr(growth_left).store(0, Ordering::Release);
            let (mut live, mut deleted) = (0, 0);
            for i in 0..buckets {
                let byte = self.ctrl(i).read();
                live += is_full(byte) as u64;
                deleted += (byte == DELETED) as u64;
                if i < WIDTH {
                    self.set_ctrl(self.mirror(i), byte);
                }
            }
            let header = self.header.as_ptr();
            AtomicU64::from_ptr(&raw mut (*header).items).store(live, Ordering::Release);
            AtomicU64::from_ptr(&raw mut (*header).tombstones).store(deleted, Ordering::Release);
            let left = (*header).limit.saturating_sub(live + deleted);
            AtomicU64::from_ptr(growth_left).store(left, Ordering::Release);
        }
    }

    /// Makes every bucket free, whatever it holds.
    ///
    /// # Safety
    /// 1. The table may be written and nothing names it: this is no single store.
    pub(super) unsafe fn reset(self) {
        let limit = self.counters().limit;
        // SAFETY: 1; header and control bytes lie in the block.
        unsafe {
            self.ctrl(0).write_bytes(EMPTY, self.mask() + 1 + WIDTH);
            let header = self.header.as_ptr();
            (*header).items = 0;
            (*header).tombstones = 0;
            (*header).growth_left = limit;
        }
    }

    /// The live buckets.
    #[inline]
    pub(super) fn live(self) -> Live<K, V> {
        // SAFETY: the first group is always there, aligned.
        let full = unsafe { Group::load_aligned(self.ctrl(0)) }.full();
        let (next, end) = (self.ctrl(0).wrapping_add(WIDTH), self.ctrl(0).wrapping_add(self.mask() + 1));
        Live { full, first: self.bucket(0).as_ptr(), next, end }
    }
}

impl<K: ShmSafe + ShmHash, V: ShmSafe> Table<K, V> {
    /// Moves every live bucket of `self`, which keeps its bytes, into the new table `to`. The keys are hashed anew.
    ///
    /// # Safety
    /// 1. `to` is new, nothing names it, and at least as many buckets may be taken as are live here. No lock in a
    ///    bucket is held.
    pub(super) unsafe fn relocate_into(self, to: Self) {
        let (seed, mut left) = (to.seed(), to.counters().limit);
        let mut moved = 0;
        for from in self.live() {
            // SAFETY: live.
            let hash = hash_one(unsafe { &(*from.as_ptr()).key }, seed);
            left = left.checked_sub(1).expect("the new table has room for every live bucket");
            let i = to.free_for(hash).expect("a table that is not full has a free bucket");
            let (from, bucket) = (from.as_ptr(), to.bucket(i).as_ptr());
            // SAFETY: `from` is live and `bucket` free; they lie in two blocks. `to` is ours: no order is needed.
            unsafe {
                if K::PLAIN && V::PLAIN {
                    std::ptr::copy_nonoverlapping(from, bucket, 1);
                } else {
                    K::relocate(&raw mut (*from).key, &raw mut (*bucket).key);
                    V::relocate(&raw mut (*from).value, &raw mut (*bucket).value);
                }
                to.ctrl(i).write(tag(hash));
                to.ctrl(to.mirror(i)).write(tag(hash));
            }
            moved += 1;
        }
        // SAFETY: `to` is ours.
        unsafe {
            (*to.header.as_ptr()).items = moved;
            (*to.header.as_ptr()).growth_left = left;
        }
    }
}

/// Marks the branch it stands in as unlikely.
#[cold]
fn cold() {}

/// The control byte of a key with this hash.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    (hash >> 57) as u8
}

/// The live buckets of a table, in the order in which they stand.
///
/// It ends where the control bytes end, whatever the counters say.
pub(super) struct Live<K, V> {
    full: Matches,
    first: *mut Bucket<K, V>,
    next: *const u8,
    end: *const u8,
}

impl<K, V> Live<K, V> {
    /// Of no table.
    pub(super) fn none() -> Self {
        let null = std::ptr::null();
        Live { full: Matches::NONE, first: std::ptr::null_mut(), next: null, end: null }
    }
}

impl<K, V> Clone for Live<K, V> {
    fn clone(&self) -> Self {
        Live { ..*self }
    }
}

impl<K, V> Iterator for Live<K, V> {
    type Item = NonNull<Bucket<K, V>>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(i) = self.full.next() {
                // SAFETY: a live bucket of the table, so not null.
                return Some(unsafe { NonNull::new_unchecked(self.first.add(i)) });
            }
            if self.next >= self.end {
                return None;
            }
            // SAFETY: a whole group of buckets follows, in a table of at least 16; control bytes are 16-aligned.
            unsafe {
                self.full = Group::load_aligned(self.next).full();
                self.first = self.first.add(WIDTH);
                self.next = self.next.add(WIDTH);
            }
        }
    }
}
