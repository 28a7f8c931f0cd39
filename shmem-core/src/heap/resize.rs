//! Spans that become longer or shorter where they stand.
//!
//! Whoever does either has the block to himself. The page at which the longer one of the two lengths begins to differ is
//! `Claiming` meanwhile: growing claims it first, and then the bodies behind it; shrinking has them there. The store
//! of the new length in the span's first page decides. Behind it, growing makes the claimed page a body; shrinking frees
//! the bodies from the last on, and then the claimed page.
//!
//! Pages before a span are claimed as a run of their own. Then the span's bodies, from the last on, become bodies of the
//! run's first page, and at last its old head, which decides; then the run's first page becomes the head. What the block
//! held stays where it was: to move it, and what names it, is the owner's affair. The mark of a raw span is set on its new
//! first page before that is decided, and cleared on the old one after it.

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

/// Where a span begins now, and how many bytes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) offset: u64,
    pub(super) usable: usize,
}

impl Heap {
    /// Puts free pages before the span at `offset`, so many that it has `preferred` bytes or, if there are not enough, as
    /// many as there are, but at least `minimum`. The bytes it held stand at the same place, now behind the new ones.
    ///
    /// # Errors
    /// The largest size that could be had. Nothing has changed.
    ///
    /// # Crash safety
    /// A death leaves the span as it was, or as it is to be: then it begins before what is known of it.
    pub(super) fn expand_backward(
        &self,
        offset: u64,
        minimum: usize,
        preferred: usize,
    ) -> Result<Expanded, usize> {
        let raw = &self.raw;
        let (first, head) = raw.span_at(offset).map_err(|_| 0usize)?;
        let bytes = |pages: u64| (pages * raw.page_bytes()) as usize;
        let (len, wanted) = (head.payload(), self.pages_for(preferred.max(minimum)).min(MAX_PAYLOAD));
        let to_be_had =
            |page: &u64| matches!(raw.word(*page).state(), Some(PageState::Free | PageState::Punched));
        let there = (0..first).rev().take_while(to_be_had).count() as u64;
        let more = there.min(wanted.saturating_sub(len));
        if len + more < self.pages_for(minimum) {
            return Err(bytes(len + there));
        }
        let start = first - more;
        if more > 0 {
            // Without an intent a death could lose the block, which is live.
            let Some(slot) = self.own_slot() else { return Err(bytes(len)) };
            if self.recommit(start..first).is_err() || !raw.join_run(slot, start, first, head) {
                return Err(bytes(len));
            }
        }
        let usable = bytes(len + more);
        poison::unpoison(raw.header.segment_id, raw.page_at(start), usable as u64);
        Ok(Expanded { offset: raw.page_at(start), usable })
    }
}

impl Raw {
    /// Makes the free pages from `start` on and the span at `first` behind them one span.
    fn join_run(&self, slot: u32, start: u64, first: u64, head: Word) -> bool {
        let (before, all) = (first - start, first - start + head.payload());
        self.intending(Some(slot), Intent { doing: Doing::Join, first: start, len: all }, |by| {
            let word = self.word(start);
            if word.state() != Some(PageState::Free) {
                return false;
            }
            let Some(claiming) = self.change(start, word, PageState::Claiming, by.payload()) else {
                return false;
            };
            // CRASH join: the span is as it was, and the intent says what before it is to be freed again.
            crash_point!("join.claimed");
            self.unlist(FREE_LIST, start, before);
            if !self.claim_bodies(start, 1..before) {
                self.drop_claim(start, claiming, start, 0..0);
                self.relist(start, before);
                return false;
            }
            for at in (before + 1..all).rev() {
                let body = self.word(start + at);
                if body.is(PageState::Body, at - before) {
                    self.change(start + at, body, PageState::Body, at);
                }
                // CRASH joining: bodies of the span, from the last on, lead to the claimed page.
                crash_point!("join.body");
            }
            if self.is_span_marked(first) {
                self.mark_span(start);
            }
            // CRASH join-mark: the page before is marked, and free again when this is undone.
            crash_point!("join.marked");
            if self.change(first, head, PageState::Body, before).is_none() {
                self.part(start, claiming, before, all);
                return false;
            }
            // CRASH joined: the span has no head, but for the claimed page.
            crash_point!("join.joined");
            self.join(start, claiming, all)
        })
    }

    /// Completes [`join_run`](Self::join_run), when the span's old head is a body.
    pub(super) fn join(&self, start: u64, claiming: Word, all: u64) -> bool {
        (1..all).for_each(|at| self.unmark_span(start + at));
        // CRASH unmarked: as joined; all marks but the claimed page's are cleared.
        crash_point!("join.unmarked");
        self.change(start, claiming, PageState::Head, all).is_some()
    }

    /// Undoes [`join_run`](Self::join_run), before the span's old head has changed: it is the page `start + before`.
    pub(super) fn part(&self, start: u64, claiming: Word, before: u64, all: u64) {
        for at in before + 1..all {
            let body = self.word(start + at);
            if body.is(PageState::Body, at) {
                self.change(start + at, body, PageState::Body, at - before);
                // CRASH part: some bodies are the old head's again; who settles it goes on.
                crash_point!("join.parted");
            }
        }
        self.drop_claim(start, claiming, start, 1..before);
    }

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
