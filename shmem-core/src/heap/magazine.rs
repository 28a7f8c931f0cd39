//! Magazines: free blocks that a thread has at hand, so that most allocations and frees touch nothing shared.
//!
//! This file needs `unsafe`: it turns places in the segment into references to mapped atomics.
//!
//! Each thread slot has a *cache* in the segment, and in it a magazine for each of the smaller classes: a count and so
//! many offsets. A block in a magazine is free for its thread and taken for everybody else: its bit is set. The
//! thread that has the slot is the only one that touches the cache, so it needs no read-modify-write: allocating lowers
//! the count, freeing raises it. An empty magazine is filled with blocks of one bitmap word, by one compare-and-swap; a
//! full one is half emptied, word by word.
//!
//! # Deaths
//! The count's store is what takes effect: before it, the block is in the magazine (or not), after it, it is not (or is).
//!
//! | killed | what is left |
//! |---|---|
//! | between a pop and the caller's use of the block, or before a push | that block is nobody's |
//! | filling, after the bits were set, before the count was | the blocks of that word, at most [`kept`](super::classes::Class::kept) |
//! | emptying, after the count was lowered, before the bits were cleared | likewise |
//!
//! The loss is found by leak recovery. A cache outlives its thread: what is in it when the slot is free is given back by
//! the slot's next owner, by the recovery of a dead process, by whoever finds no memory, when the segment is closed, and
//! by a thread that exits. Each of them has the slot meanwhile.
//!
//! A cache that a thread has not used yet is not trusted: it is emptied first, through the checks of any free.

use super::Heap;
use super::classes::{CACHE_HEADER_BYTES, Class, MAGAZINE_HEADER_WORDS, MOST_KEPT};
use super::raw::{Raw, bits_of};
use super::report::BadFree;
use crate::crash::crash_point;
use crate::mapping::registry;
use crate::mapping::superblock::{CACHE_BYTES, SLOT_SIZE, cache_count};
use crate::participant::{Participants, SlotHandle, kept_slot, known_slot};
use std::collections::HashSet;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

/// A thread that has allocated less often than this has no cache yet: most that only look at a segment never need one.
const BEFORE_A_CACHE: u32 = 16;

/// How often a thread that could get none allocates before it tries again.
const BEFORE_ANOTHER_TRY: u32 = 10_000;

/// What begins a cache.
#[repr(C)]
pub(super) struct CacheHeader {
    /// The generation of the slot in whose life the cache was emptied last, + 1: what is in it now is of that life. 0 if that
    /// never was.
    life: AtomicU64,
    _zero: [u64; 7],
}

const _: () = assert!(size_of::<CacheHeader>() == CACHE_HEADER_BYTES as usize);

/// The cache of the slot that this thread has, or of a slot nobody else can have now.
///
/// # Invariants
/// 1. It points to [`CACHE_BYTES`] bytes of a mapped segment that have memory behind them, 4096-aligned.
#[derive(Clone, Copy)]
pub(super) struct Cache<'h> {
    at: NonNull<u8>,
    _mapped: PhantomData<&'h Raw>,
}

impl<'h> Cache<'h> {
    fn header(self) -> &'h CacheHeader {
        // SAFETY: the invariant; its fields are atomics, or never written.
        unsafe { self.at.cast().as_ref() }
    }

    /// The cache that `adopt_cache` had remembered for this thread.
    #[inline(always)]
    pub(super) fn of_thread(at: NonNull<u8>) -> Self {
        Cache { at, _mapped: PhantomData }
    }

    /// The magazine of a class that has one.
    #[inline(always)]
    pub(super) fn magazine(self, class: &Class) -> Magazine<'h> {
        self.magazine_at(class.magazine_at, class.kept)
    }

    /// The magazine of a class that has one: there, with so much room. (Of another class it is one that is always full,
    /// and empty.)
    #[inline(always)]
    pub(super) fn magazine_at(self, at: u32, kept: u32) -> Magazine<'h> {
        // SAFETY: `Classes` puts all magazines into a cache, 8-aligned; atomics may be shared.
        unsafe {
            let at = self.at.add(at as usize).cast().as_ptr();
            Magazine { words: std::slice::from_raw_parts(at, MAGAZINE_HEADER_WORDS + kept as usize) }
        }
    }
}

/// The free blocks of one class that a thread has at hand, the newest last.
///
/// A dead thread's memory holds the first so many of its stores: the compiler must keep their order, the processor does
/// for whoever learns of the death, or gets the slot.
#[derive(Clone, Copy)]
pub(super) struct Magazine<'h> {
    /// Zero, the count, the offsets. So there are two words before each offset.
    words: &'h [AtomicU64],
}

/// What became of a block that was to be put into a magazine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in it.
    Done,
    /// The magazine is full.
    Full,
    /// It was in it before.
    There,
}

impl<'h> Magazine<'h> {
    #[inline(always)]
    fn items(self) -> &'h [AtomicU64] {
        &self.words[MAGAZINE_HEADER_WORDS..]
    }

    #[inline(always)]
    fn len(self) -> usize {
        self.words[MAGAZINE_HEADER_WORDS - 1].load(Ordering::Relaxed) as usize
    }

    #[inline(always)]
    fn set_len(self, len: usize) {
        compiler_fence(Ordering::SeqCst);
        self.words[MAGAZINE_HEADER_WORDS - 1].store(len as u64, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Takes the newest block out.
    #[inline(always)]
    pub(super) fn pop(self) -> Option<u64> {
        let last = self.len().wrapping_sub(1);
        let offset = self.items().get(last)?.load(Ordering::Relaxed);
        self.set_len(last);
        Some(offset)
    }

    /// Puts a block in, if there are fewer than `most` and it is none of the two newest.
    #[inline(always)]
    pub(super) fn push(self, offset: u64, most: usize) -> Pushed {
        let len = self.len();
        let Some([older, newest, item]) = self.words.get(len..).and_then(|words| words.first_chunk()) else {
            return Pushed::Full;
        };
        if len >= most {
            return Pushed::Full;
        }
        if older.load(Ordering::Relaxed) == offset || newest.load(Ordering::Relaxed) == offset {
            return Pushed::There;
        }
        item.store(offset, Ordering::Relaxed);
        self.set_len(len + 1);
        Pushed::Done
    }

    /// As [`push`](Self::push); whether it is in it now and was not before.
    #[inline(always)]
    pub(super) fn push_new(self, offset: u64, most: usize) -> bool {
        self.push(offset, most) == Pushed::Done
    }

    /// How many blocks an empty magazine is filled with, which is to hold `most`.
    pub(super) fn room(self, most: usize) -> usize {
        if self.len() == 0 { self.items().len().min(most).div_ceil(2) } else { 0 }
    }

    /// Puts blocks into an empty magazine, of which the first is to be popped first; they are in it when
    /// [`filled`](Self::filled) says so.
    pub(super) fn fill(self, offsets: impl Iterator<Item = u64>, len: usize) {
        for (item, offset) in self.items()[..len].iter().rev().zip(offsets) {
            item.store(offset, Ordering::Relaxed);
        }
    }

    /// The blocks that were put in are the thread's.
    pub(super) fn filled(self, len: usize) {
        crash_point!("magazine.filling");
        self.set_len(len);
    }

    /// The blocks in it. Of a damaged one, none.
    fn blocks(self) -> impl Iterator<Item = u64> {
        let len = Some(self.len()).filter(|len| *len <= self.items().len()).unwrap_or(0);
        self.items()[..len].iter().map(|item| item.load(Ordering::Relaxed))
    }
}

/// How many blocks a magazine holds in a segment that may have so many pages. Each may be the last one of a page that nobody
/// else can use meanwhile, so it is few where there are few pages.
pub(super) fn most_kept(max_pages: u64) -> usize {
    (max_pages / 256).clamp(4, MOST_KEPT.into()) as usize
}

impl Heap {
    /// This thread's magazine of the class, if it has a cache.
    #[inline(always)]
    pub(super) fn magazine(&self, class: &Class) -> Option<Magazine<'_>> {
        if class.kept == 0 {
            return None;
        }
        // `adopt_cache` has remembered it, for this mapping.
        Some(self.own_cache()?.magazine(class))
    }

    /// As [`magazine`](Self::magazine) for a thread that has no cache yet: gives it one once that is worth it.
    #[cold]
    pub(super) fn first_magazine(&self, class: &Class) -> Option<Magazine<'_>> {
        if class.kept == 0 || self.checked {
            return None;
        }
        let is_due = registry::is_due(self.raw.base(), BEFORE_A_CACHE);
        if self.adopt_cache(is_due).is_none() && is_due {
            registry::put_off(BEFORE_ANOTHER_TRY);
        }
        self.magazine(class)
    }

    /// Gives this thread the cache of its slot, if it has used that before; or, if it is `new`, if it has, or may take, a
    /// slot, and there is memory for it.
    fn adopt_cache(&self, new: bool) -> Option<()> {
        let (base, participants) = (self.raw.base(), self.participants()?);
        if let Some(cache) = self.known_cache(&participants) {
            registry::remember_blocks(base, cache.at);
            return Some(());
        }
        if !new || known_slot(&participants).is_none() && !participants.has_slots_to_spare() {
            return None;
        }
        let slot = kept_slot(base as *const u8)?;
        let index = self.raw.index_of(&slot);
        let (word, bit) = self.raw.has_cache(index)?;
        if word.load(Ordering::Acquire) & bit == 0 {
            self.commit.commit(self.raw.cache_at(index), CACHE_BYTES).ok()?;
            // CRASH cache: memory is behind a cache that nobody knows of; the slot's next owner commits it again.
            word.fetch_or(bit, Ordering::AcqRel);
        }
        let cache = self.raw.cache(index)?;
        self.empty(cache);
        crash_point!("magazine.adopted");
        cache.header().life.store(u64::from(slot.generation()) + 1, Ordering::Relaxed);
        registry::remember_blocks(base, cache.at);
        Some(())
    }

    /// The cache that this thread uses, whatever segment it has used last.
    fn known_cache(&self, participants: &Arc<Participants>) -> Option<Cache<'_>> {
        let slot = known_slot(participants)?;
        let index = self.raw.index_of(&slot);
        let cache = self.raw.cache(index)?;
        let of_this_life = cache.header().life.load(Ordering::Relaxed) == u64::from(slot.generation()) + 1;
        of_this_life.then_some(cache)
    }

    /// Gives back what is in the cache, one block at a time, obeying nothing that is no live block of its class.
    fn empty(&self, cache: Cache<'_>) {
        for (class, geometry) in self.raw.classes.cached() {
            let magazine = cache.magazine(geometry);
            if magazine.len() > geometry.kept as usize {
                magazine.set_len(0);
            }
            magazine.words[0].store(0, Ordering::Relaxed);
            if magazine.len() > 0 {
                self.flush(magazine, class, 0, false);
            }
        }
    }

    /// Gives back the newest blocks of a magazine until so many are left. A block that was freed twice is counted and, if it is
    /// to be `told`, reported.
    #[cold]
    #[inline(never)]
    pub(super) fn flush(&self, magazine: Magazine<'_>, class: usize, left: usize, told: bool) {
        let place = |at: usize| self.raw.locate(magazine.items()[at].load(Ordering::Relaxed), class);
        loop {
            // Anew each time: who is told of a bad free may allocate and free.
            let mut len = magazine.len().min(magazine.items().len());
            if len <= left {
                return;
            }
            len -= 1;
            let Ok((page, block)) = place(len) else {
                magazine.set_len(len);
                continue;
            };
            let mut bits = 1u64 << (block % 64);
            while len > left
                && let Ok((other, block_before)) = place(len - 1)
                && (other, block_before / 64) == (page, block / 64)
            {
                len -= 1;
                bits |= 1 << (block_before % 64);
            }
            // CRASH flush: the blocks of this word are nobody's until leaks are recovered. The other way round they might be
            // freed twice.
            magazine.set_len(len);
            crash_point!("magazine.flushing");
            let cleared = self.raw.clear(page, class, block / 64, bits);
            for bit in bits_of(bits & !cleared) {
                let (offset, size_bytes) = self.raw.block_place(page, class, block / 64 * 64 + bit as u32);
                if told {
                    self.bad_free(BadFree { offset, size_bytes, why: "the block was freed twice" });
                } else {
                    self.raw.head().bad_frees.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Gives back what is in the cache of a slot that this process has, and whose thread does not use it any more.
    pub(crate) fn empty_cache(&self, slot: u32) {
        if let Some(cache) = self.raw.cache(slot) {
            self.empty(cache);
        }
    }

    /// Gives back what is in the caches of slots that are free. Waits for nobody.
    pub(crate) fn empty_free_caches(&self, participants: &Participants) {
        for slot in 0..self.raw.header.slots {
            if let Some(cache) = self.raw.cache(slot)
                && self.raw.cached_in(cache).next().is_some()
            {
                participants.with_free_slot(slot, || self.empty(cache));
            }
        }
    }

    /// Gives back what is in this thread's cache.
    pub(super) fn empty_own_cache(&self, participants: &Arc<Participants>) {
        if let Some(cache) = self.known_cache(participants) {
            self.empty(cache);
        }
    }

    fn own_cache(&self) -> Option<Cache<'_>> {
        registry::blocks_of(self.raw.base(), self.epoch).map(Cache::of_thread)
    }

    /// Who knows which slots are free.
    pub(super) fn participants(&self) -> Option<Arc<Participants>> {
        self.participants.get()?.upgrade()
    }
}

impl Raw {
    /// Whether the caches, of which nobody uses one now, hold blocks that are taken, once each.
    pub(super) fn check_caches(&self, mut found: impl FnMut(u64, &'static str)) {
        let mut seen = HashSet::new();
        for slot in 0..self.header.slots {
            let Some(cache) = self.cache(slot) else { continue };
            let at = self.cache_at(slot);
            if self.classes.cached().any(|(_, class)| cache.magazine(class).len() > class.kept as usize) {
                found(at, "a magazine holds more blocks than it has room for");
            }
            for (offset, class) in self.cached_in(cache) {
                let taken = self.locate(offset, class).is_ok_and(|(page, block)| {
                    self.bits(page, block / 64).load(Ordering::SeqCst) >> (block % 64) & 1 != 0
                });
                if !taken {
                    found(at, "a block in a magazine is none, or is free for all");
                } else if !seen.insert(offset) {
                    found(at, "a block is in magazines twice");
                }
            }
        }
    }

    /// The word and bit that say whether a slot's cache has memory behind it; `None` if slots have no caches.
    fn has_cache(&self, slot: u32) -> Option<(&AtomicU64, u64)> {
        let has = slot < cache_count(self.header.heap_page_shift, self.header.slots);
        has.then(|| (&self.head().caches[slot as usize / 64], 1 << (slot % 64)))
    }

    fn index_of(&self, slot: &SlotHandle) -> u32 {
        ((slot.place().addr().wrapping_sub(self.base()) as u64 - self.header.slots_at) / SLOT_SIZE) as u32
    }

    fn cache_at(&self, slot: u32) -> u64 {
        self.header.caches_at + u64::from(slot) * CACHE_BYTES
    }

    /// The cache of a slot, if it has memory behind it.
    pub(super) fn cache(&self, slot: u32) -> Option<Cache<'_>> {
        let (word, bit) = self.has_cache(slot)?;
        // SYNC cache: Acquire, pairs with the AcqRel in `adopt_cache`: who sees the bit may touch the memory.
        let there = word.load(Ordering::Acquire) & bit != 0;
        // By the bit, the invariant of `Cache`; the table is page-aligned.
        there.then(|| Cache {
            at: NonNull::new(self.at(self.cache_at(slot))).expect("not null"),
            _mapped: PhantomData,
        })
    }

    /// The offsets in a cache, with their classes. Exact while its thread neither allocates nor frees.
    pub(super) fn cached_in<'h>(&'h self, cache: Cache<'h>) -> impl Iterator<Item = (u64, usize)> + 'h {
        self.classes.cached().flat_map(move |(class, geometry)| {
            cache.magazine(geometry).blocks().map(move |offset| (offset, class))
        })
    }

    /// As [`cached_in`](Self::cached_in) for all caches.
    pub(super) fn cached(&self) -> impl Iterator<Item = (u64, usize)> {
        (0..self.header.slots).filter_map(|slot| self.cache(slot)).flat_map(|cache| self.cached_in(cache))
    }
}

#[cfg(test)]
pub(crate) fn cache_layout() -> crate::format_test::StoredLayout {
    crate::format_test::stored_layout!(CacheHeader { life, _zero })
}

#[cfg(test)]
pub(crate) mod test_support {
    use super::*;

    impl Heap {
        /// The offsets in all caches.
        pub(crate) fn cached(&self) -> Vec<u64> {
            self.raw.cached().map(|(offset, _)| offset).collect()
        }

        /// What is wrong, if nobody else is at work.
        pub(crate) fn check_alone(&self) -> Vec<crate::error::Corrupt> {
            self.raw.check(true)
        }

        /// Overwrites the words of every magazine in all caches: the first is 0, the second the count, then come offsets.
        pub(crate) fn damage_magazines(&self, mut word: impl FnMut(usize) -> u64) {
            for cache in (0..self.raw.header.slots).filter_map(|slot| self.raw.cache(slot)) {
                for (_, class) in self.raw.classes.cached() {
                    let magazine = cache.magazine(class);
                    for (i, at) in magazine.words.iter().enumerate() {
                        at.store(word(i), Ordering::SeqCst);
                    }
                }
            }
        }
    }
}
