//! Blocks above half a page: runs of whole pages.
//!
//! A run is put together from its first page on: that one becomes `Claiming` (with the run's length), the others
//! `Body`, and last the first becomes `Head`. It is taken apart backwards: `Head` to `Claiming`, the bodies to `Free`
//! from the last on, then the first. So a page is anybody's only when it is `Free`, and whoever looks for pages and
//! finds a `Claiming` one knows that memory may be about to come back.
//!
//! Claimants look for the lowest run that is long enough, and take the run's pages off the list of free pages, last
//! first, as soon as they have its first page: a second claimant sees either the run's first page free, and fails on
//! it at once, or none of it.

use super::Heap;
use super::page::{MAX_PAYLOAD, PageState, Word};
use super::poison;
use super::raw::{FREE_LIST, Raw};
use super::report::BadFree;
use crate::crash::crash_point;
use crate::error::AllocError;
use std::alloc::Layout;
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
        self.until_exhausted(layout.size(), pages, |heap| {
            // Each round fails only if somebody else took a page of the run, which is progress, or because a page was
            // listed wrongly, which it is no longer.
            for _ in 0..1 + heap.raw.committed() {
                let Found::Run(first) = heap.find_run(pages) else { return None };
                if heap.raw.claim_run(first, pages) {
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
        if let Err(why) = self.raw.free_run(offset, self.pages_for(layout.size())) {
            self.bad_free(BadFree { offset, size_bytes: layout.size() as u64, why });
        }
    }

    /// Makes the span at `offset` at least `new_size` bytes long; gives its length.
    pub(super) fn grow_span(&self, offset: u64, new_size: usize) -> Option<usize> {
        let (first, 0) = self.raw.page_of(offset).ok()? else { return None };
        let head = self.raw.word(first);
        if head.state() != Some(PageState::Head) {
            return None;
        }
        let (len, wanted) = (head.payload(), self.pages_for(new_size));
        if first + len > self.raw.committed() {
            return None;
        }
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
        if end > self.raw.committed() {
            // What is behind the span must be free as far as it is there, or committing more is no use.
            let free = |page| self.raw.word(page).state() == Some(PageState::Free);
            if !(first + len..self.raw.committed()).all(free) || !matches!(self.commit_to(end), Ok(true)) {
                return None;
            }
        }
        self.raw.extend_run(first, head, wanted).then(|| usable(wanted))?
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
                Some(PageState::Claiming) if !self.is_abandoned(before, word.0) => {
                    return Some(before + word.payload());
                }
                Some(PageState::Body) => {
                    let head = before.saturating_sub(word.payload());
                    let word = self.raw.word(head);
                    match word.state() {
                        Some(PageState::Head) if before - head < word.payload() => return Some(0),
                        Some(PageState::Claiming) => before = head + 1,
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
    fn claim_run(&self, first: u64, pages: u64) -> bool {
        let word = self.word(first);
        let state = if pages == 1 { PageState::Head } else { PageState::Claiming };
        let claimed = match word.state() {
            Some(PageState::Free) => self.change(first, word, state, pages),
            _ => None,
        };
        let Some(head) = claimed else {
            self.unlist_taken(first);
            return false;
        };
        // CRASH span: the pages claimed so far are lost until leaks are recovered; the others stay free, and `heal`
        // lists them again.
        self.unlist(FREE_LIST, first, pages);
        crash_point!("span.claiming");
        if pages == 1 {
            return true;
        }
        if !self.claim_bodies(first, 1, pages) {
            self.drop_claim(first, head, pages);
            return false;
        }
        crash_point!("span.bodies");
        // Nobody else changes a `Claiming` page, unless the bytes are damaged.
        self.change(first, head, PageState::Head, pages).is_some()
    }

    /// Makes the pages `head + from .. head + to` bodies; if one is not free, takes that back and is `false`.
    fn claim_bodies(&self, head: u64, from: u64, to: u64) -> bool {
        for at in from..to {
            let word = self.word(head + at);
            let free = word.state() == Some(PageState::Free);
            if !free || self.change(head + at, word, PageState::Body, at).is_none() {
                self.drop_bodies(head, from, at);
                self.unlist_taken(head + at);
                return false;
            }
        }
        true
    }

    /// Frees the bodies `head + from .. head + to`, from the last on.
    fn drop_bodies(&self, head: u64, from: u64, to: u64) {
        for at in (from..to).rev() {
            let word = self.word(head + at);
            if word.is(PageState::Body, at) {
                self.change(head + at, word, PageState::Free, 0);
            }
        }
    }

    /// Frees the first page of a claim and lists what of its pages is free.
    fn drop_claim(&self, first: u64, claiming: Word, pages: u64) {
        self.change(first, claiming, PageState::Free, 0);
        for page in first..first + pages {
            if self.word(page).state() == Some(PageState::Free) {
                self.list(FREE_LIST, page, 1);
            }
        }
    }

    /// Takes a page off the list of free pages that was found not to be free.
    fn unlist_taken(&self, page: u64) {
        self.unlist(FREE_LIST, page, 1);
        // SYNC lists: whoever frees a page changes its word first, then lists it: look again.
        if self.word(page).state() == Some(PageState::Free) {
            self.list(FREE_LIST, page, 1);
        }
    }

    pub(super) fn free_run(&self, offset: u64, least_pages: u64) -> Result<(), &'static str> {
        let (first, 0) = self.page_of(offset)? else { return Err("no span begins there") };
        let head = self.word(first);
        if head.state() != Some(PageState::Head) {
            return Err("no span begins there");
        }
        let len = head.payload();
        if least_pages > len || first + len > self.committed() {
            return Err("the span has another length");
        }
        poison::poison(self.header.segment_id, offset, len * self.page_bytes());
        // CRASH free-span: the pages not yet free are lost until leaks are recovered.
        let Some(claiming) = self.change(first, head, PageState::Claiming, len) else {
            return Err("the span is being freed already");
        };
        crash_point!("span.claimed");
        self.drop_bodies(first, 1, len);
        crash_point!("span.dropped");
        // Listed at once and last: who searched a half-listed run would take its middle and leave pieces.
        if self.change(first, claiming, PageState::Free, 0).is_some() {
            self.list(FREE_LIST, first, len);
        }
        Ok(())
    }

    /// Appends pages to the span at `first`, if those behind it are free.
    fn extend_run(&self, first: u64, head: Word, wanted: u64) -> bool {
        let len = head.payload();
        let (next, more) = (first + len, wanted - len);
        let word = self.word(next);
        if word.state() != Some(PageState::Free) {
            return false;
        }
        let Some(claiming) = self.change(next, word, PageState::Claiming, more) else { return false };
        // CRASH extend: the pages claimed so far are lost until leaks are recovered; the span is as it was.
        self.unlist(FREE_LIST, next, more);
        if !self.claim_bodies(first, len + 1, wanted) {
            self.drop_claim(next, claiming, more);
            return false;
        }
        let whole = self.change(next, claiming, PageState::Body, len).is_some()
            && self.change(first, head, PageState::Head, wanted).is_some();
        debug_assert!(whole, "nobody else changes the pages of a live span");
        whole
    }
}
