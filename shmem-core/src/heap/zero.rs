//! Overwriting what no block occupies, while others go on.
//!
//! What is overwritten is taken first, by the protocols by which it is allocated: a free page is claimed, a free block has
//! its bit set. So nobody else has it meanwhile, and it is given back as it is freed.
//!
//! What a page has behind its last block is nobody's, but was written when the page was something else. As long as
//! any bit of a page is set it stays what it is (see `small`), also one that stands for no block: one of these holds the
//! page. Where a page has bits for blocks and marks only, its blocks fill it.
//!
//! This file needs `unsafe`: it writes.

use super::Heap;
use super::intent::{Doing, Intent};
use super::page::{PageState, Word};
use super::poison;
use super::raw::{FREE_LIST, Raw, bits_of};
use crate::crash::crash_point;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of an attempt to take a bit.
enum Taking {
    /// It is the caller's.
    Taken,
    /// It is somebody's.
    Refused,
    /// The page's word has changed.
    Changed,
}

impl Heap {
    /// Overwrites with zeros all memory that is committed and no block's, but for what other threads have at hand; how many
    /// bytes. O(committed).
    pub(crate) fn zero_free(&self) -> u64 {
        let mut bytes = 0;
        if let Some(participants) = self.participants() {
            self.empty_free_caches(&participants);
            self.empty_own_cache(&participants);
        }
        // What is committed from now on is zero.
        for page in 0..self.raw.committed() {
            // Each round fails only if the page has become something else by what somebody did.
            while !self.zero_page(page, &mut bytes) {}
        }
        bytes
    }

    /// Whether it is done.
    fn zero_page(&self, page: u64, bytes: &mut u64) -> bool {
        let word = self.raw.word(page);
        match word.state() {
            Some(PageState::Free) => self.raw.zero_free_page(self.own_slot(), page, word, bytes),
            Some(PageState::Small) => self.raw.zero_blocks(page, word, bytes),
            // What may still have memory has what was in it.
            Some(PageState::Punched) if word.payload() == 1 => {
                !matches!(self.recommit(page..page + 1), Ok(true))
            }
            Some(PageState::Retiring) => {
                // Its retirer is dead, or will find that it was overtaken.
                self.raw.change(page, word, PageState::Small, word.payload());
                false
            }
            _ => true,
        }
    }
}

impl Raw {
    fn zero_free_page(&self, slot: Option<u32>, page: u64, word: Word, bytes: &mut u64) -> bool {
        self.intending(slot, Intent { doing: Doing::Run, first: page, len: 1 }, |by| {
            // Not a span: whoever finds no memory waits for a claim.
            let Some(claiming) = self.change(page, word, PageState::Claiming, by.payload()) else {
                return false;
            };
            // CRASH zero-page: recovery frees the page.
            crash_point!("zero.page");
            self.unlist(FREE_LIST, page, 1);
            // SAFETY: the page is committed, and ours.
            unsafe { self.zero(self.page_at(page), self.page_bytes(), bytes) };
            self.drop_claim(page, claiming, page, 1..1);
            true
        })
    }

    fn zero_blocks(&self, page: u64, word: Word, bytes: &mut u64) -> bool {
        let class = word.payload() as usize;
        let Some(geometry) = self.classes.get(class) else { return true };
        for i in 0..geometry.words {
            let free = !self.bits(page, i).load(Ordering::Relaxed) & geometry.mask(i);
            for bit in bits_of(free) {
                let block = i * 64 + bit as u32;
                match self.take_bit(page, word, block) {
                    Taking::Taken => {}
                    Taking::Refused => continue,
                    Taking::Changed => return false,
                }
                // CRASH zero-block: the block is unreachable until leaks are recovered.
                crash_point!("zero.block");
                let offset = self.page_at(page) + u64::from(block * geometry.size);
                // SAFETY: a block of a committed page, and ours.
                unsafe { self.zero(offset, geometry.size.into(), bytes) };
                let freed = self.free(offset, class);
                debug_assert!(freed.is_ok(), "nobody else frees it");
            }
        }
        let end = u64::from(geometry.blocks * geometry.size);
        if end == self.page_bytes() {
            return true;
        }
        for bit in self.spare_bits(geometry) {
            match self.take_bit(page, word, bit) {
                Taking::Taken => {
                    // CRASH zero-rest: a bit that means nothing: the page is never empty, until leaks are recovered.
                    crash_point!("zero.rest");
                    self.zero_rest(self.page_at(page) + end, self.page_bytes() - end, bytes);
                    // SYNC retire: sequentially consistent, as every change of a bit.
                    self.bits(page, bit / 64).fetch_and(!(1 << (bit % 64)), Ordering::SeqCst);
                    // Who freed the last block meanwhile found the page not empty.
                    self.retire_if_empty(page, class);
                    break;
                }
                // Somebody does the same, or died doing it.
                Taking::Refused => {}
                Taking::Changed => return false,
            }
        }
        true
    }

    /// Sets a bit of a page, if it is clear and the page's word is still `seen`.
    fn take_bit(&self, page: u64, seen: Word, bit: u32) -> Taking {
        let (bits, mask) = (self.bits(page, bit / 64), 1 << (bit % 64));
        // SYNC block, SYNC retire: as in `claim`.
        if bits.fetch_or(mask, Ordering::SeqCst) & mask != 0 {
            return Taking::Refused;
        }
        if self.word(page) == seen {
            return Taking::Taken;
        }
        bits.fetch_and(!mask, Ordering::SeqCst);
        Taking::Changed
    }

    /// Overwrites what a page has behind its last block, which stays that as long as a bit of the page is set. Somebody else may
    /// do the same with another bit.
    fn zero_rest(&self, offset: u64, len: u64, bytes: &mut u64) {
        // One thread of this process at a time, or the sanitizer would take one's end for another's. Never blocked on.
        static ONE: Mutex<()> = Mutex::new(());
        let one = cfg!(shmem_poison).then(|| ONE.try_lock());
        if matches!(one, Some(Err(_))) {
            return;
        }
        poison::unpoison(self.header.segment_id, offset, len);
        for at in (offset..offset + len).step_by(8) {
            // SAFETY: inside a committed page, and no block's; aligned, since blocks are multiples of 8; an atomic may be shared.
            unsafe { &*self.at(at).cast::<AtomicU64>() }.store(0, Ordering::Relaxed);
        }
        poison::poison(self.header.segment_id, offset, len);
        *bytes += len;
    }

    /// # Safety
    /// 1. The bytes are committed, and nobody else has them.
    unsafe fn zero(&self, offset: u64, len: u64, bytes: &mut u64) {
        poison::unpoison(self.header.segment_id, offset, len);
        // SAFETY: 1.
        unsafe { self.at(offset).write_bytes(0, len as usize) };
        poison::poison(self.header.segment_id, offset, len);
        *bytes += len;
    }
}
