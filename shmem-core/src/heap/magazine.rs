//! Magazines: free blocks that a thread has at hand, so that most allocations and frees touch nothing shared.
//!
//! This file needs `unsafe`: it says whose the cache is that the registry knows.
//!
//! Each thread slot has a *cache* in the segment (see `cache`), and in it a magazine for each of the smaller classes: a count
//! and so many offsets. A block in a magazine is free for its thread and taken for everybody else: its bit is set. The
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
use super::cache::Cache;
use super::classes::{Class, MAGAZINE_HEADER_WORDS, MOST_KEPT};
use super::raw::bits_of;
use super::report::BadFree;
use crate::crash::crash_point;
use crate::mapping::registry;
use crate::mapping::superblock::CACHE_BYTES;
use crate::participant::{KeptSlot, Participants, kept_slot, known_slot};
use crate::primitive::{AtomicU64, Ordering, compiler_fence};
use std::sync::Arc;

/// A thread that has allocated less often than this has no cache yet: most that only look at a segment never need one.
const BEFORE_A_CACHE: i64 = 16;

/// How often a thread that could get none allocates before it tries again.
const BEFORE_ANOTHER_TRY: i64 = 10_000;

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
    /// The magazine in these words.
    #[inline(always)]
    pub(super) fn new(words: &'h [AtomicU64]) -> Self {
        Magazine { words }
    }

    #[inline(always)]
    fn items(self) -> &'h [AtomicU64] {
        &self.words[MAGAZINE_HEADER_WORDS..]
    }

    /// How many blocks are in it; of a damaged one, any number.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
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
        // CRASH pop: the block is nobody's.
        crash_point!("magazine.popped");
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
        // CRASH push: the block is nobody's.
        crash_point!("magazine.pushing");
        self.set_len(len + 1);
        Pushed::Done
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
        // CRASH fill: the blocks are nobody's.
        crash_point!("magazine.filling");
        self.set_len(len);
    }

    /// Makes of a damaged one one whose blocks can be given back.
    fn mend(self) {
        self.words[0].store(0, Ordering::Relaxed);
        if self.len() > self.items().len() {
            self.set_len(0);
        }
    }

    /// The blocks in it. Of a damaged one, none.
    pub(super) fn blocks(self) -> impl Iterator<Item = u64> {
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
    pub(super) fn magazine(&self, class: &Class) -> Option<Magazine<'_>> {
        if class.kept == 0 {
            return None;
        }
        let at = registry::blocks_of(self.raw.base(), self.epoch)?;
        // SAFETY: 1: by `adopt_cache`, for this mapping, which is there.
        Some(unsafe { Cache::of_thread(at) }.magazine(class))
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
            registry::remember_blocks(base, cache.place());
            return Some(());
        }
        let slot = if new { self.kept_slot(&participants)? } else { return None };
        if self.raw.cache(slot.index).is_none() {
            self.commit.commit(self.raw.cache_at(slot.index)?, CACHE_BYTES).ok()?;
            // CRASH cache: memory is behind a cache that nobody knows of; the slot's next owner commits it again.
            crash_point!("magazine.committed");
            self.raw.announce_cache(slot.index);
        }
        let cache = self.raw.cache(slot.index)?;
        self.empty(cache);
        // CRASH adopt: an empty cache of no life, or of this one.
        crash_point!("magazine.adopted");
        cache.begin_life(slot);
        registry::remember_blocks(base, cache.place());
        Some(())
    }

    /// The cache that this thread uses, whatever segment it has used last.
    fn known_cache(&self, participants: &Arc<Participants>) -> Option<Cache<'_>> {
        let slot = known_slot(participants)?;
        self.raw.cache(slot.index).filter(|cache| cache.is_of(slot))
    }

    /// Gives back what is in the cache, one block at a time, obeying nothing that is no live block of its class.
    fn empty(&self, cache: Cache<'_>) {
        for (class, geometry) in self.raw.classes.cached() {
            let magazine = cache.magazine(geometry);
            magazine.mend();
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

    /// The slot of this thread: it takes one, if it has none, and there are some to spare.
    pub(super) fn kept_slot(&self, participants: &Arc<Participants>) -> Option<KeptSlot> {
        let take = || kept_slot(self.raw.base() as *const u8, participants);
        known_slot(participants).or_else(|| participants.has_slots_to_spare().then(take).flatten())
    }

    /// Who knows which slots are free.
    pub(super) fn participants(&self) -> Option<Arc<Participants>> {
        self.participants.get()?.upgrade()
    }
}

#[cfg(test)]
pub(crate) mod test_support {
    use super::*;

    impl Magazine<'_> {
        /// Its words: 0, the count, the offsets.
        pub(crate) fn words(&self) -> &[AtomicU64] {
            self.words
        }
    }
}
