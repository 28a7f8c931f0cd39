//! Spans that become longer or shorter where they stand.
//!
//! Whoever does either has the block to himself. The page at which the longer one of the two lengths begins to differ is
//! `Claiming` meanwhile: growing claims it first, and then the bodies behind it; shrinking has them there. The store
//! of the new length in the span's first page decides. Behind it, growing makes the claimed page a body; shrinking frees
//! the bodies from the last on, and then the claimed page.

use super::Heap;
use super::intent::{Doing, Intent};
use super::page::{MAX_PAYLOAD, PageState, Word};
use super::poison;
use super::raw::{FREE_LIST, Raw};
use crate::crash::crash_point;
use std::alloc::Layout;

impl Heap {
    /// Makes the span at `offset` at least `new_size` bytes long; gives its length.
    pub(super) fn grow_span(&self, offset: u64, new_size: usize) -> Option<usize> {
        let (first, head) = self.raw.span_at(offset).ok()?;
        let (len, wanted) = (head.payload(), self.pages_for(new_size));
        let usable = |pages: u64| {
            let len = poison::handed_out(new_size, (pages * self.raw.page_bytes()) as usize);
            poison::unpoison(self.raw.header.segment_id, offset, len as u64);
            Some(len)
        };
        if wanted <= len {
            return usable(len);
        }
        let end = first.checked_add(wanted)?;
        if wanted > MAX_PAYLOAD || end > self.raw.capacity_pages() {
            return None;
        }
        // What is behind the span must be to be had as far as it is there, or committing memory is no use.
        let behind = first + len..end.min(self.raw.committed());
        let state = |page| self.raw.word(page).state();
        let to_be_had = |page| matches!(state(page), Some(PageState::Free | PageState::Punched));
        if !behind.clone().all(to_be_had)
            || self.recommit(behind).is_err()
            || end > self.raw.committed() && !matches!(self.commit_to(end), Ok(true))
        {
            return None;
        }
        self.raw.extend_run(self.own_slot(), first, head, wanted).then(|| usable(wanted))?
    }

    /// Gives the whole pages of the span at `offset` back that a block of `new_size` bytes does not need; gives its
    /// length, and `publish` it before. Not if a block of that size would be none of whole pages.
    pub(super) fn shrink_span(
        &self,
        offset: u64,
        layout: Layout,
        new_size: usize,
        publish: &mut dyn FnMut(usize),
    ) -> Option<usize> {
        if self.raw.classes.of(new_size, layout.align()).is_some() {
            return None;
        }
        let (first, head) = self.raw.span_at(offset).ok()?;
        let (len, keep) = (head.payload(), self.pages_for(new_size));
        if keep > len {
            return None;
        }
        let usable = poison::handed_out(new_size, (keep * self.raw.page_bytes()) as usize);
        publish(usable);
        if cfg!(shmem_poison) {
            let (end, behind) = (offset + len * self.raw.page_bytes(), offset + usable as u64);
            poison::poison(self.raw.header.segment_id, behind, end - behind);
        }
        if keep < len {
            // Should the tables be damaged, the block stays longer than it needs to be.
            self.raw.cut_run(self.own_slot(), first, head, keep);
        }
        Some(usable)
    }
}

impl Raw {
    /// Appends pages to the span at `first`, if those behind it are free.
    pub(super) fn extend_run(&self, slot: Option<u32>, first: u64, head: Word, wanted: u64) -> bool {
        let len = head.payload();
        let next = first + len;
        self.intending(slot, Intent { doing: Doing::Resize, first, len: wanted }, |by| {
            let word = self.word(next);
            if word.state() != Some(PageState::Free) {
                return false;
            }
            let Some(claiming) = self.change(next, word, PageState::Claiming, by.payload()) else {
                return false;
            };
            // CRASH extend: the span is as it was, and the intent says what behind it is to be freed again.
            crash_point!("resize.claimed");
            self.unlist(FREE_LIST, next, wanted - len);
            if !self.claim_bodies(first, len + 1..wanted) {
                self.drop_claim(next, claiming, first, 0..0);
                self.relist(next, wanted - len);
                return false;
            }
            if self.change(first, head, PageState::Head, wanted).is_none() {
                self.drop_claim(next, claiming, first, len + 1..wanted);
                debug_assert!(false, "nobody else changes the pages of a live span");
                return false;
            }
            // CRASH extended: the span is longer, and one of its pages is still claimed.
            crash_point!("resize.longer");
            self.change(next, claiming, PageState::Body, len);
            true
        })
    }

    /// Frees the pages of the span at `first` but for the first `keep`.
    fn cut_run(&self, slot: Option<u32>, first: u64, head: Word, keep: u64) -> bool {
        let (len, cut) = (head.payload(), first + keep);
        self.intending(slot, Intent { doing: Doing::Resize, first, len }, |by| {
            let body = self.word(cut);
            if !body.is(PageState::Body, keep) {
                return false;
            }
            let Some(claiming) = self.change(cut, body, PageState::Claiming, by.payload()) else {
                return false;
            };
            // CRASH cut: the span is as it was, and one of its pages is claimed.
            crash_point!("resize.cut");
            if self.change(first, head, PageState::Head, keep).is_none() {
                self.change(cut, claiming, PageState::Body, keep);
                return false;
            }
            // CRASH shorter: the intent says what behind the span is still to be freed.
            crash_point!("resize.shorter");
            self.drop_bodies(first, keep + 1..len, PageState::Free, 0);
            if self.change(cut, claiming, PageState::Free, 0).is_some() {
                crash_point!("resize.free");
                self.list(FREE_LIST, cut, len - keep);
            }
            true
        })
    }
}
