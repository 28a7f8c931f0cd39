//! Leak recovery: what is not reached is given back.
//!
//! Whoever sweeps is alone: nobody allocates, and nobody frees what was live when it was found out what is reached. (A process that has
//! just detached may still be giving up the pages it allocated from; so each step is one that stands that.) A sweep may
//! be cut short anywhere and begun again: it goes by words and bitmaps alone, and each step leaves what another
//! one takes for a leak.
//!
//! | found | becomes |
//! |---|---|
//! | a block's bit, and it is not reached | clear; the page free, if that was its last |
//! | a bit that is no block's and no raw block's | clear |
//! | `Retiring` | `Small`, then as that |
//! | `Head`, not reached | taken apart as any span that is freed |
//! | `Claiming` | free |
//! | `Punching` | `Punched`, perhaps with memory |
//! | `Body` without a live head | free |

use super::Heap;
use super::classes::Class;
use super::marks::SMALLEST;
use super::page::PageState;
use super::poison;
use super::raw::{Raw, bits_of};
use super::reachable::Reached;
use crate::crash::crash_point;
use std::sync::atomic::Ordering;

/// Blocks of one size that were given back: see [`LeakReport`](crate::LeakReport).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweptClass {
    /// The size of a block in bytes.
    pub block_bytes: u64,
    /// How many blocks.
    pub blocks: u64,
}

/// What a sweep has given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// By size, smallest first; without sizes of which there was nothing.
    pub(crate) classes: Vec<SweptClass>,
    /// Spans that nothing leads to.
    pub(crate) spans: u64,
    /// The pages of these.
    pub(crate) span_pages: u64,
    /// Pages that deaths in the middle of putting spans together or taking them apart have left.
    pub(crate) stray_pages: u64,
}

impl Heap {
    /// Gives back whatever is not reached. (Claims of dead threads that had slots are settled already.)
    pub(crate) fn sweep(&self, reached: &Reached) -> Swept {
        let (raw, mut swept) = (&self.raw, Swept::default());
        let mut blocks = vec![0; raw.classes.count()];
        let mut page = 0;
        while page < raw.committed() {
            let word = raw.word(page);
            let mut len = 1;
            match word.state() {
                Some(PageState::Small) => {
                    raw.sweep_small(page, word.payload() as usize, reached, &mut blocks)
                }
                Some(PageState::Retiring) => {
                    raw.change(page, word, PageState::Small, word.payload());
                    raw.sweep_small(page, word.payload() as usize, reached, &mut blocks);
                }
                Some(PageState::Head) if reached.contains(raw.page_at(page)) => len = word.payload(),
                Some(PageState::Head) => {
                    len = word.payload();
                    raw.sweep_span(self.own_slot(), page, len);
                    swept.spans += 1;
                    swept.span_pages += len;
                }
                Some(PageState::Claiming) => {
                    raw.clear_bits(page, |_| !0);
                    raw.unmark_span(page);
                    swept.stray_pages += u64::from(raw.change(page, word, PageState::Free, 0).is_some());
                    // CRASH sweep-claim: its bodies have no live head, and go next.
                    crash_point!("sweep.claim");
                }
                Some(PageState::Punching) => {
                    swept.stray_pages += u64::from(raw.change(page, word, PageState::Punched, 1).is_some());
                    // CRASH sweep-punching: likewise.
                    crash_point!("sweep.punching");
                }
                Some(PageState::Body) if !raw.is_live_body(page, word.payload()) => {
                    raw.clear_bits(page, |_| !0);
                    swept.stray_pages += u64::from(raw.change(page, word, PageState::Free, 0).is_some());
                    // CRASH sweep-body: a free page on no list, which `heal` finds.
                    crash_point!("sweep.body");
                }
                Some(PageState::Free | PageState::Body | PageState::Punched) => raw.clear_bits(page, |_| !0),
                None => {}
            }
            page += len.max(1);
        }
        // CRASH swept: likewise, for all of them.
        crash_point!("sweep.swept");
        // What became free, or has room again, goes on its list.
        self.heal(true);
        let classes = blocks.into_iter().enumerate().filter(|(_, blocks)| *blocks > 0);
        swept.classes = classes
            .filter_map(|(class, blocks)| {
                Some(SweptClass { block_bytes: raw.classes.get(class)?.size.into(), blocks })
            })
            .collect();
        swept
    }

    /// The size of a page.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.raw.page_bytes()
    }
}

impl Raw {
    fn sweep_small(&self, page: u64, number: usize, reached: &Reached, blocks: &mut [u64]) {
        let Some(class) = self.classes.get(number) else { return };
        let size = u64::from(class.size);
        for i in 0..class.words {
            let bits = self.bits(page, i);
            let mut leaked = 0;
            for bit in bits_of(bits.load(Ordering::SeqCst) & class.mask(i)) {
                let offset = self.page_at(page) + (u64::from(i) * 64 + bit) * size;
                if !reached.contains(offset) {
                    poison::poison(self.header.segment_id, offset, size);
                    leaked |= 1 << bit;
                }
            }
            if leaked != 0 {
                // SYNC block, SYNC retire: as where a block is freed.
                blocks[number] +=
                    u64::from((bits.fetch_and(!leaked, Ordering::SeqCst) & leaked).count_ones());
                // CRASH sweep: these are free, the others are leaked still.
                crash_point!("sweep.blocks");
            }
        }
        self.clear_bits(page, |i| self.stray_bits(page, class, i));
        // CRASH swept page: an empty page of the class; `heal` gives it back.
        self.retire_if_empty(page, number);
    }

    /// The bits of bitmap word `i` that stand neither for a block nor for the rawness of a live one.
    fn stray_bits(&self, page: u64, class: &Class, i: u32) -> u64 {
        let own = if i < class.words { class.mask(i) } else { 0 };
        let taken = |block: u32| self.bits(page, block / 64).load(Ordering::SeqCst) >> (block % 64) & 1 != 0;
        let first = self.first_mark() * 64;
        let others = self.bits(page, i).load(Ordering::SeqCst) & !own;
        bits_of(others)
            .filter(|bit| {
                let block = (i * 64 + *bit as u32).checked_sub(first);
                !block.is_some_and(|block| {
                    class.size as usize >= SMALLEST && block < class.blocks && taken(block)
                })
            })
            .fold(0, |stray, bit| stray | 1 << bit)
    }

    /// Clears the bits that `which` gives of each word of the bitmap.
    fn clear_bits(&self, page: u64, which: impl Fn(u32) -> u64) {
        for i in 0..self.bitmap_words() as u32 {
            let (bits, mask) = (self.bits(page, i), which(i));
            if bits.load(Ordering::SeqCst) & mask != 0 {
                bits.fetch_and(!mask, Ordering::SeqCst);
            }
        }
    }

    /// Takes a span apart: see `span`.
    fn sweep_span(&self, slot: Option<u32>, first: u64, len: u64) {
        self.clear_bits(first, |_| !0);
        if self.free_run(slot, self.page_at(first), 1).is_err() {
            debug_assert!(false, "a span of {len} pages that nobody else can free");
        }
    }

    /// Whether a page that is `distance` behind the head of a span is a part of it.
    fn is_live_body(&self, page: u64, distance: u64) -> bool {
        let head = page.checked_sub(distance).map(|head| self.word(head));
        head.is_some_and(|head| head.state() == Some(PageState::Head) && head.payload() > distance)
    }
}
