//! [`Raw`]: where the heap's tables and pages stand in one mapping, and the lists of pages worth looking at.
//!
//! This file needs `unsafe`: it turns page numbers into references to mapped atomics.
//!
//! # Lists
//! There is one list for each size class (its pages with free blocks) and one of the free pages. A list is a set of
//! bits in two levels, spread over the descriptors so that they are committed with the pages they speak of: a word
//! for each group of 64 pages, and a word for each 64 groups that shows which of their words are not zero. Finding
//! the lowest page of a list reads one word for each 4096 pages and then one more.
//!
//! All of it is hints. A bit too many is found out by whoever follows it, and cleared; a bit too few (a process died
//! before setting it) is set again by [`Heap::heal`](super::Heap), which looks at every page before the heap grows.

use super::classes::{Class, Classes};
use super::page::{Descriptor, HeapHeader, PageState, Word};
use crate::error::Corrupt;
use crate::mapping::superblock::{DESCRIPTOR_BYTES, FixedHeader, HEAP_AT, STATE_AT, State, bitmap_bytes};
use crate::primitive::{AtomicU64, Ordering};
use std::ptr;

/// The number of the list of free pages.
pub(super) const FREE_LIST: usize = super::classes::MAX_CLASSES;

const GROUP: u64 = 64;

/// The heap's tables and pages in one mapping.
///
/// # Invariants
/// 1. The range `base..base + end` is mapped and stays so; the descriptors (in whole groups) and bitmaps of `committed`
///    pages have memory behind them, and so have the pages, but for those that are `Punching` or `Punched`.
/// 2. Every page number passed to a method is below a value that [`committed`](Raw::committed) has returned.
pub(super) struct Raw {
    base: usize,
    /// Where the descriptors and the bitmaps begin, in this mapping.
    descriptors: usize,
    bitmaps: usize,
    pub(super) header: FixedHeader,
    pub(super) classes: &'static Classes,
    pub(super) max_pages: u64,
    /// How many blocks a magazine holds.
    pub(super) most_kept: usize,
    /// So many pages are committed, as far as is known: [`committed`](Raw::committed) may be more.
    known_committed: AtomicU64,
}

impl Raw {
    /// Describes the heap mapped at `base`.
    ///
    /// # Safety
    /// 1. The range that `header` describes is mapped at `base`, readable and writable, exposed, and stays so while
    ///    the value lives; the first page has memory behind it.
    /// 2. `header` is one that `FixedHeader::new` makes.
    pub(super) unsafe fn new(base: usize, header: &FixedHeader) -> Result<Raw, Corrupt> {
        let classes = Classes::for_page(header.heap_page_shift)
            .ok_or(Corrupt { at: 0, what: "the heap's page size is none of the three" })?;
        let max_pages = header.max_capacity >> header.heap_page_shift;
        Ok(Raw {
            base,
            descriptors: base + header.descriptors_at as usize,
            bitmaps: base + header.bitmaps_at as usize,
            header: *header,
            classes,
            max_pages,
            most_kept: super::magazine::most_kept(max_pages),
            known_committed: AtomicU64::new(0),
        })
    }

    pub(super) fn base(&self) -> usize {
        self.base
    }

    #[inline]
    pub(super) fn at(&self, offset: u64) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base + offset as usize)
    }

    #[inline]
    pub(super) fn page_bytes(&self) -> u64 {
        1 << self.header.heap_page_shift
    }

    /// The offset of a page in the segment.
    #[inline]
    pub(super) fn page_at(&self, page: u64) -> u64 {
        self.header.data_at + (page << self.header.heap_page_shift)
    }

    #[inline]
    pub(super) fn head(&self) -> &HeapHeader {
        // SAFETY: inside the first page, which is committed; 8-aligned; atomics may be shared.
        unsafe { &*self.at(HEAP_AT).cast() }
    }

    /// The segment's capacity in pages.
    pub(super) fn capacity_pages(&self) -> u64 {
        // SAFETY: inside the first page, which is committed; 8-aligned; atomics may be shared.
        let state: &State = unsafe { &*self.at(STATE_AT).cast() };
        let bytes = state.capacity.load(Ordering::Acquire);
        (bytes >> self.header.heap_page_shift).min(self.max_pages)
    }

    /// How many pages may be touched.
    #[inline]
    pub(super) fn committed(&self) -> u64 {
        // SYNC commit: pairs with the `fetch_max` in `Heap::commit_up_to`.
        let committed = self.head().committed.load(Ordering::Acquire).min(self.max_pages);
        self.known_committed.store(committed, Ordering::Release);
        committed
    }

    /// Whether a page may be touched, if that is known without looking.
    #[inline(always)]
    pub(super) fn is_known_committed(&self, page: u64) -> bool {
        page < self.known_committed.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn descriptor(&self, page: u64) -> &Descriptor {
        debug_assert!(page < self.max_pages.next_multiple_of(GROUP));
        // SAFETY: by invariants 1 and 2 (for the rest of its group: a group's descriptors are one memory page, and
        // commits come in whole ones); aligned, since the table is; atomics may be shared.
        unsafe { &*ptr::with_exposed_provenance(self.descriptors + (page * DESCRIPTOR_BYTES) as usize) }
    }

    /// Word `i` of a page's block bitmap.
    #[inline]
    pub(super) fn bits(&self, page: u64, i: u32) -> &AtomicU64 {
        debug_assert!(u64::from(i) < self.bitmap_words());
        // A bit for every 16 bytes.
        let at = ((page << (self.header.heap_page_shift - 7)) + u64::from(i) * 8) as usize;
        // SAFETY: by invariants 1 and 2; aligned; atomics may be shared.
        unsafe { &*ptr::with_exposed_provenance(self.bitmaps + at) }
    }

    /// As [`bits`](Self::bits), where pages have 64 KiB.
    #[inline(always)]
    pub(super) fn bits_of_64k(&self, page: u64, i: u32) -> &AtomicU64 {
        // SAFETY: by invariants 1 and 2; aligned; atomics may be shared.
        unsafe { &*ptr::with_exposed_provenance(self.bitmaps + (page as usize * 64 + i as usize) * 8) }
    }

    #[inline]
    pub(super) fn bitmap_words(&self) -> u64 {
        bitmap_bytes(self.header.heap_page_shift) / 8
    }

    #[inline]
    pub(super) fn word(&self, page: u64) -> Word {
        // SYNC state: pairs with every compare-and-swap of a word; sequentially consistent because allocation and
        // retirement each write one word and then read the other's (see `small`).
        Word(self.descriptor(page).word.load(Ordering::SeqCst))
    }

    /// Changes a page's word if it is still `from`; gives the new word.
    #[inline]
    pub(super) fn change(&self, page: u64, from: Word, state: PageState, payload: u64) -> Option<Word> {
        let to = from.next(state, payload);
        // SYNC state: see `word`.
        let done =
            self.descriptor(page).word.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst);
        done.is_ok().then_some(to)
    }

    /// How many of the page's blocks are taken.
    pub(super) fn taken(&self, page: u64, class: &Class) -> u32 {
        // SYNC retire: sequentially consistent, see `small`.
        let bits = |i| self.bits(page, i).load(Ordering::SeqCst) & class.mask(i);
        (0..class.words).map(|i| bits(i).count_ones()).sum()
    }

    /// Whether no bit of the page is set, whatever its class.
    pub(super) fn is_empty(&self, page: u64) -> bool {
        // SYNC retire: sequentially consistent, see `small`.
        (0..self.bitmap_words() as u32).all(|i| self.bits(page, i).load(Ordering::SeqCst) == 0)
    }

    /// The word of `list` for a group of pages.
    #[inline]
    fn group(&self, list: usize, group: u64) -> &AtomicU64 {
        &self.descriptor(group * GROUP + list as u64 % 64).partial[list / 64]
    }

    /// The word of `list` for 64 groups.
    #[inline]
    fn groups(&self, list: usize, supergroup: u64) -> &AtomicU64 {
        &self.descriptor(supergroup * GROUP * GROUP + list as u64 % 64).groups[list / 64]
    }

    /// Puts `len` pages on a list, from the first to the last.
    pub(super) fn list(&self, list: usize, page: u64, len: u64) {
        for (group, mask) in groups_of(page, len) {
            self.group(list, group).fetch_or(mask, Ordering::SeqCst);
            let (word, bit) = (self.groups(list, group / GROUP), 1 << (group % GROUP));
            // SYNC lists: the group's word first, then its bit; `lowest` clears the bit first, then looks again.
            if word.load(Ordering::SeqCst) & bit == 0 {
                word.fetch_or(bit, Ordering::SeqCst);
            }
        }
    }

    /// Takes `len` pages off a list, from the last to the first; tells whether the first was on it.
    pub(super) fn unlist(&self, list: usize, page: u64, len: u64) -> bool {
        let mut was = false;
        for (group, mask) in groups_of(page, len).rev() {
            let old = self.group(list, group).fetch_and(!mask, Ordering::SeqCst);
            was = old >> (page % GROUP) & 1 != 0;
        }
        was
    }

    /// Whether a page is on a list.
    pub(super) fn is_listed(&self, list: usize, page: u64) -> bool {
        self.group(list, page / GROUP).load(Ordering::SeqCst) >> (page % GROUP) & 1 != 0
    }

    /// The words of a list that are not zero, with the first page of the group each stands for, lowest first.
    pub(super) fn listed(&self, list: usize, committed: u64) -> impl Iterator<Item = (u64, u64)> {
        let groups = committed.div_ceil(GROUP);
        (0..groups.div_ceil(GROUP)).flat_map(move |supergroup| {
            let summary = self.groups(list, supergroup).load(Ordering::SeqCst);
            bits_of(summary).map(move |bit| supergroup * GROUP + bit).filter_map(move |group| {
                if group >= groups {
                    return None;
                }
                let mut word = self.group(list, group).load(Ordering::SeqCst);
                if word == 0 {
                    // SYNC lists: clear, then look again: a page listed in between is not lost.
                    let (summary, bit) = (self.groups(list, group / GROUP), 1 << (group % GROUP));
                    summary.fetch_and(!bit, Ordering::SeqCst);
                    word = self.group(list, group).load(Ordering::SeqCst);
                    if word != 0 {
                        summary.fetch_or(bit, Ordering::SeqCst);
                    }
                }
                // Bits beyond what is committed can only be damage.
                let within = committed - group * GROUP;
                let word = if within < GROUP { word & ((1 << within) - 1) } else { word };
                (word != 0).then_some((group * GROUP, word))
            })
        })
    }

    /// Takes the lowest page off a list.
    pub(super) fn take_listed(&self, list: usize) -> Option<u64> {
        self.listed(list, self.committed()).find_map(|(first, word)| {
            bits_of(word).map(|bit| first + bit).find(|page| self.unlist(list, *page, 1))
        })
    }
}

/// The set bits of a word, lowest first.
pub(super) fn bits_of(mut word: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(u64::from(bit))
    })
}

/// The groups that a run of pages touches, with its bits in each.
fn groups_of(page: u64, len: u64) -> impl DoubleEndedIterator<Item = (u64, u64)> {
    let (end, groups) = (page + len, page / GROUP..(page + len).div_ceil(GROUP));
    groups.map(move |group| {
        let from = page.max(group * GROUP) - group * GROUP;
        let to = end.min((group + 1) * GROUP) - group * GROUP;
        (group, (!0 >> (64 - (to - from))) << from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups() {
        let of = |page, len| groups_of(page, len).collect::<Vec<_>>();
        assert_eq!(of(0, 1), [(0, 1)]);
        assert_eq!(of(64, 64), [(1, !0)]);
        assert_eq!(of(62, 4), [(0, 3 << 62), (1, 3)]);
        assert_eq!(of(63, 66), [(0, 1 << 63), (1, !0), (2, 1)]);
        assert_eq!(bits_of(0b1010_0001).collect::<Vec<_>>(), [0, 5, 7]);
        assert_eq!(bits_of(0).count(), 0);
        assert_eq!(bits_of(!0).count(), 64);
    }
}
