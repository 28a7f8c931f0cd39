//! Blocks above half a page: runs of whole pages.
//!
//! A run is put together from its first page on: that one becomes `Claiming` (and says by whom), the others
//! `Body`, and last the first becomes `Head`. It is taken apart backwards: `Head` to `Claiming`, the bodies to `Free`
//! from the last on, then the first. So a page is anybody's only when it is `Free`, and whoever looks for pages and
//! finds a `Claiming` one knows that memory may be about to come back.
//!
//! Claimants look for the lowest run that is long enough, and take the run's pages off the list of free pages, last
//! first, as soon as they have its first page: a second claimant sees either the run's first page free, and fails on
//! it at once, or none of it.

use super::Heap;
use super::intent::{Doing, Intent};
use super::page::{MAX_PAYLOAD, PageState, Word};
use super::poison;
use super::raw::{FREE_LIST, Raw};
use super::report::BadFree;
use crate::crash::crash_point;
use crate::error::AllocError;
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;

/// What a search for a run found.
enum Found {
    /// A run begins at this page.
    Run(u64),
    /// None; so many pages at the end of the committed ones are free.
    Tail(u64),
}

impl Heap {
    /// How many pages a block of `size` bytes takes.
    pub(super) fn pages_for(&self, size: usize) -> u64 {
        (size.max(1) as u64).div_ceil(self.raw.page_bytes())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn allocate_span(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let pages = self.pages_for(layout.size());
        if pages > self.raw.max_pages.min(MAX_PAYLOAD) {
            return Err(self.out_of_memory(layout.size()));
        }
        let slot = self.own_slot();
        self.until_exhausted(layout.size(), pages, |heap| {
            // Each round fails only if somebody else took a page of the run, which is progress, or because a page was
            // listed wrongly, which it is no longer.
            for _ in 0..1 + heap.raw.committed() {
                let Found::Run(first) = heap.find_run(pages) else { return None };
                if heap.raw.claim_run(slot, first, pages) {
                    let (offset, usable) =
                        (heap.raw.page_at(first), (pages * heap.raw.page_bytes()) as usize);
                    let len = poison::handed_out(layout.size(), usable);
                    poison::unpoison(heap.raw.header.segment_id, offset, len as u64);
                    let at = NonNull::new(heap.raw.at(offset)).expect("a mapping's address is not null");
                    return Some(NonNull::slice_from_raw_parts(at, len));
                }
            }
            None
        })
    }

    /// How many pages must be committed for a run of `pages` to end there.
    pub(super) fn committed_for(&self, pages: u64) -> u64 {
        match self.find_run(pages) {
            // Somebody has freed one meanwhile: take it.
            Found::Run(_) => 0,
            Found::Tail(tail) => self.raw.committed() - tail + pages,
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn free_span(&self, offset: u64, layout: Layout) {
        if let Err(why) = self.raw.free_run(self.own_slot(), offset, self.pages_for(layout.size())) {
            self.bad_free(BadFree { offset, size_bytes: layout.size() as u64, why });
        }
    }

    /// The lowest run of `pages` free pages, as the list of free pages shows it.
    fn find_run(&self, pages: u64) -> Found {
        let committed = self.raw.committed();
        let (mut start, mut end) = (0, 0);
        for (first, word) in self.raw.listed(FREE_LIST, committed) {
            let mut rest = word;
            while rest != 0 {
                let from = u64::from(rest.trailing_zeros());
                let len = u64::from((rest >> from).trailing_ones());
                if first + from != end {
                    start = first + from;
                }
                end = first + from + len;
                if end - start >= pages
                    && let Some(start) = self.start_of_run(start, end, pages)
                {
                    return Found::Run(start);
                }
                rest = if from + len < 64 { rest & (!0 << (from + len)) } else { 0 };
            }
        }
        Found::Tail(if end == committed { end - start } else { 0 })
    }

    /// Where to claim `pages` pages of the run that a search saw as `start..end`.
    ///
    /// A claim in the middle of a run would leave it in pieces. So pages before the run that were listed behind the
    /// search's back belong to it, and pages of a claim under way that somebody has listed in passing do not.
    fn start_of_run(&self, start: u64, end: u64, pages: u64) -> Option<u64> {
        let mut first = start;
        // Pages may be freed and claimed while we look; `claimed_until` notices.
        for _ in 0..1000 {
            while pages > 1 && first > 0 && self.raw.word(first - 1).state() == Some(PageState::Free) {
                first -= 1;
            }
            if let Some(claimed) = if pages > 1 { self.claimed_until(first) } else { Some(0) } {
                first = first.max(claimed);
                break;
            }
        }
        (first + pages <= end).then_some(first)
    }

    /// The end of the claim under way that reaches up to `page`, or 0; `None` if the page before is free by now.
    fn claimed_until(&self, page: u64) -> Option<u64> {
        let mut before = page;
        while before > 0 {
            before -= 1;
            let word = self.raw.word(before);
            match word.state() {
                Some(PageState::Free) => return None,
                Some(PageState::Claiming | PageState::Punching) if !self.is_abandoned(before, word.0) => {
                    return Some(before + self.raw.claim_len(before, word));
                }
                Some(PageState::Body) => {
                    let head = before.saturating_sub(word.payload());
                    let word = self.raw.word(head);
                    match word.state() {
                        Some(PageState::Head) if before - head < word.payload() => return Some(0),
                        Some(PageState::Claiming | PageState::Punching) => before = head + 1,
                        // Being appended to a span: the claim begins further on.
                        _ => {}
                    }
                }
                _ => return Some(0),
            }
        }
        Some(0)
    }
}

impl Raw {
    /// Makes a span of the pages from `first` on, if they are all free.
    fn claim_run(&self, slot: Option<u32>, first: u64, pages: u64) -> bool {
        let claim = |state, payload| {
            let word = self.word(first);
            let claimed = match word.state() {
                Some(PageState::Free) => self.change(first, word, state, payload),
                _ => None,
            };
            if claimed.is_none() {
                self.unlist_taken(first);
            }
            claimed
        };
        if pages == 1 {
            // CRASH span: a block that nobody knows of, as for any other.
            let claimed = claim(PageState::Head, 1).is_some();
            if claimed {
                self.unlist(FREE_LIST, first, 1);
            }
            return claimed;
        }
        self.intending(slot, Intent { doing: Doing::Run, first, len: pages }, |by| {
            let Some(head) = claim(PageState::Claiming, by.payload()) else { return false };
            // CRASH claim: the intent says which pages are to be freed again.
            crash_point!("span.claimed");
            self.unlist(FREE_LIST, first, pages);
            if !self.claim_bodies(first, 1..pages) {
                self.drop_claim(first, head, first, 1..1);
                self.relist(first, pages);
                return false;
            }
            // Nobody else changes a page that this thread has claimed, unless the bytes are damaged.
            self.change(first, head, PageState::Head, pages).is_some()
        })
    }

    /// Makes the pages `head + at` bodies, from the first on; if one is not free, takes that back and is `false`.
    pub(super) fn claim_bodies(&self, head: u64, bodies: Range<u64>) -> bool {
        let free = |_, word: Word| word.state() == Some(PageState::Free);
        let claimed = self.claim_bodies_of(head, bodies.clone(), free);
        if claimed < bodies.end {
            self.drop_bodies(head, bodies.start..claimed, PageState::Free, 0);
            self.unlist_taken(head + claimed);
        }
        claimed == bodies.end
    }

    /// Makes the pages `head + at` bodies, from the first on, as long as their words are `wanted`; gives the first `at` whose
    /// word is not.
    pub(super) fn claim_bodies_of(
        &self,
        head: u64,
        mut bodies: Range<u64>,
        wanted: impl Fn(u64, Word) -> bool,
    ) -> u64 {
        let end = bodies.end;
        let refused = bodies.find(|at| {
            let word = self.word(head + at);
            let claimed =
                wanted(head + at, word) && self.change(head + at, word, PageState::Body, *at).is_some();
            crash_point!("span.body");
            !claimed
        });
        refused.unwrap_or(end)
    }

    /// Makes bodies `head + at` free or punched, from the last on, those that are bodies of `head`.
    pub(super) fn drop_bodies(&self, head: u64, bodies: Range<u64>, state: PageState, payload: u64) {
        for at in bodies.rev() {
            let word = self.word(head + at);
            if word.is(PageState::Body, at) {
                self.change(head + at, word, state, payload);
                crash_point!("span.unbody");
            }
        }
    }

    /// Lists the free ones of some pages.
    pub(super) fn relist(&self, first: u64, len: u64) {
        for page in first..first + len {
            if self.word(page).state() == Some(PageState::Free) {
                self.list(FREE_LIST, page, 1);
            }
        }
    }

    /// Takes a page off the list of free pages that was found not to be free.
    fn unlist_taken(&self, page: u64) {
        self.unlist(FREE_LIST, page, 1);
        // SYNC lists: whoever frees a page changes its word first, then lists it: look again.
        self.relist(page, 1);
    }

    /// The span that begins at `offset`: first page and word.
    pub(super) fn span_at(&self, offset: u64) -> Result<(u64, Word), &'static str> {
        let (first, 0) = self.page_of(offset)? else { return Err("no span begins there") };
        let head = self.word(first);
        match head.state() {
            Some(PageState::Head) if first + head.payload() <= self.committed() => Ok((first, head)),
            Some(PageState::Head) => Err("the span has another length"),
            _ => Err("no span begins there"),
        }
    }

    pub(super) fn free_run(
        &self,
        slot: Option<u32>,
        offset: u64,
        least_pages: u64,
    ) -> Result<(), &'static str> {
        let (first, head) = self.span_at(offset)?;
        let len = head.payload();
        if least_pages > len {
            return Err("the span has another length");
        }
        poison::poison(self.header.segment_id, offset, len * self.page_bytes());
        let freed = self.intending(slot, Intent { doing: Doing::Run, first, len }, |by| {
            let claiming = self.change(first, head, PageState::Claiming, by.payload())?;
            // CRASH free-span: the intent says which pages are still to be freed.
            crash_point!("span.unclaimed");
            self.drop_bodies(first, 1..len, PageState::Free, 0);
            // Somebody may free a raw span as if it were none.
            self.unmark_span(first);
            // Listed at once and last: who searched a half-listed run would take its middle and leave pieces.
            if self.change(first, claiming, PageState::Free, 0).is_some() {
                crash_point!("span.free");
                self.list(FREE_LIST, first, len);
            }
            Some(())
        });
        freed.ok_or("the span is being freed already")
    }
}
