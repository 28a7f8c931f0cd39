//! Caches: where the magazines of a thread slot stand in the segment.
//!
//! This file needs `unsafe`: it turns places in the segment into references to mapped atomics.

use super::classes::{CACHE_HEADER_BYTES, Class, MAGAZINE_HEADER_WORDS};
use super::magazine::Magazine;
use super::raw::Raw;
use crate::mapping::superblock::{CACHE_BYTES, cache_count};
use crate::participant::KeptSlot;
use crate::primitive::{AtomicU64, Ordering};
use std::collections::HashSet;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What begins a cache.
#[repr(C)]
struct CacheHeader {
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
    /// The cache at this place.
    ///
    /// # Safety
    /// 1. `at` is what [`place`](Self::place) gave of a cache of this mapping, which is there for `'h`.
    #[inline(always)]
    pub(super) unsafe fn of_thread(at: NonNull<u8>) -> Self {
        Cache { at, _mapped: PhantomData }
    }

    /// Where it stands in this mapping.
    pub(super) fn place(self) -> NonNull<u8> {
        self.at
    }

    fn header(self) -> &'h CacheHeader {
        // SAFETY: the invariant; its fields are atomics, or never written.
        unsafe { self.at.cast().as_ref() }
    }

    /// Whether what is in it is of this life of its slot.
    pub(super) fn is_of(self, slot: KeptSlot) -> bool {
        self.header().life.load(Ordering::Relaxed) == u64::from(slot.generation) + 1
    }

    /// What is in it from now on is of this life.
    pub(super) fn begin_life(self, slot: KeptSlot) {
        self.header().life.store(u64::from(slot.generation) + 1, Ordering::Relaxed);
    }

    /// The magazine of a class. (Of one that has none, a magazine without room.)
    pub(super) fn magazine(self, class: &Class) -> Magazine<'h> {
        // SAFETY: 1.
        unsafe { self.magazine_at(class.magazine_at, class.kept) }
    }

    /// The magazine that stands there and has so much room.
    ///
    /// # Safety
    /// 1. These are `magazine_at` and `kept` of one class of the segment's, or 0 and 0.
    #[inline(always)]
    pub(super) unsafe fn magazine_at(self, at: u32, kept: u32) -> Magazine<'h> {
        // SAFETY: 1: `Classes` puts all magazines into a cache, 8-aligned; the header begins with two words; atomics may be
        // shared.
        Magazine::new(unsafe {
            let words = self.at.add(at as usize).cast().as_ptr();
            std::slice::from_raw_parts(words, MAGAZINE_HEADER_WORDS + kept as usize)
        })
    }
}

impl Raw {
    /// Whether the caches, of which nobody uses one now, hold blocks that are taken, once each.
    pub(super) fn check_caches(&self, mut found: impl FnMut(u64, &'static str)) {
        let mut seen = HashSet::new();
        for slot in 0..self.header.slots {
            let (Some(cache), Some(at)) = (self.cache(slot), self.cache_at(slot)) else { continue };
            if self.classes.cached().any(|(_, class)| cache.magazine(class).len() > class.kept as usize) {
                found(at, "a magazine holds more blocks than it has room for");
            }
            for (offset, class) in self.cached_in(cache) {
                let taken = self.locate(offset, class).is_ok_and(|(page, block)| self.is_taken(page, block));
                if !taken {
                    found(at, "a block in a magazine is none, or is free for all");
                } else if !seen.insert(offset) {
                    found(at, "a block is in magazines twice");
                }
            }
        }
    }

    /// The word and bit that say whether a slot's cache has memory behind it.
    fn cache_bit(&self, slot: u32) -> (&AtomicU64, u64) {
        (&self.head().caches[slot as usize / 64], 1 << (slot % 64))
    }

    /// Where the cache of a slot stands in the segment, if slots have caches.
    pub(super) fn cache_at(&self, slot: u32) -> Option<u64> {
        let has = slot < cache_count(self.header.heap_page_shift, self.header.slots);
        has.then(|| self.header.caches_at + u64::from(slot) * CACHE_BYTES)
    }

    /// Says that the cache of a slot, which has one, has memory behind it.
    pub(super) fn announce_cache(&self, slot: u32) {
        let (word, bit) = self.cache_bit(slot);
        // SYNC cache: AcqRel, pairs with `cache`.
        word.fetch_or(bit, Ordering::AcqRel);
    }

    /// The cache of a slot, if it has memory behind it.
    pub(super) fn cache(&self, slot: u32) -> Option<Cache<'_>> {
        let at = self.cache_at(slot)?;
        let (word, bit) = self.cache_bit(slot);
        // SYNC cache: Acquire, pairs with `announce_cache`: who sees the bit may touch the memory.
        if word.load(Ordering::Acquire) & bit == 0 {
            return None;
        }
        // The invariant: by the bit; the table is page-aligned.
        Some(Cache { at: NonNull::new(self.at(at))?, _mapped: PhantomData })
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
