//! Giving memory back to the system, and asking for it again.
//!
//! | step of `trim` | the run's first page | a death leaves |
//! |---|---|---|
//! | free pages are claimed, from the first on | `Punching` | `Punched`, with memory |
//! | the system takes their memory | `Punching` | `Punched`, perhaps with memory |
//! | the bodies become `Punched`, from the last on, then the first page | `Punched` | |
//!
//! A punched page is used again by the same way back: claimed (`Punching`), committed, `Free`. So a page that is free has
//! memory behind it, and a page that may have none is never free: not even if whoever worked on it dies.
//!
//! # A punched page is never touched
//! Even a read would have the system put memory behind it again, which nothing would know of, or kill the reader if there
//! is none to be had. The heap writes to no block and reads none; poison is kept elsewhere. Who reads bytes that
//! he has not made sure to be live (names, compared before they are pinned) has their page *kept*: it is never punched.
//!
//! # When punched pages are used
//! When no free page is left, before memory is committed at the end: it costs the same system call, and keeps the
//! segment dense and its file short. What was committed once counts towards the capacity, so there may be no other.

use super::Heap;
use super::intent::{Doing, Intent};
use super::page::{PageState, Word};
use super::raw::{FREE_LIST, Raw};
use crate::crash::crash_point;
use crate::error::AllocError;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// The longest run that is punched, or committed, at once: meanwhile nobody can have its pages, and who runs out of memory waits.
const LONGEST: u64 = 4 << 20;
/// How much is asked for again at once, where that much lies together.
const STEP: u64 = 256 << 10;

impl Heap {
    /// Gives the memory of all free pages back to the system; how many bytes. 0 also where the file system cannot.
    ///
    /// # Errors
    /// What the system said; nothing is lost.
    pub(crate) fn trim(&self) -> Result<u64, AllocError> {
        // Blocks at hand that nobody waits for, then pages kept for their class that nothing is in.
        if let Some(participants) = self.participants() {
            self.empty_free_caches(&participants);
            self.empty_own_cache(&participants);
        }
        self.leave_all();
        self.heal(false);
        let (raw, slot) = (&self.raw, self.own_slot());
        let longest = (LONGEST >> raw.header.heap_page_shift).max(1);
        let (mut page, mut given) = (0, 0);
        while page < raw.committed() {
            let (word, end) = (raw.word(page), raw.committed().min(page + longest));
            // A run is of one kind, so that it can be put back as it was.
            let alike = |other: Word| other.is(word.state().unwrap_or(PageState::Head), word.payload());
            let punchable = word.is(PageState::Free, 0) || word.is(PageState::Punched, 1);
            let with = |page: &u64| punchable && alike(raw.word(*page)) && !raw.is_kept(*page);
            let len = (page..end).take_while(with).count() as u64;
            if len > 0 {
                let Some(pages) = self.punch_run(slot, page, word, len)? else { return Ok(given) };
                given += pages * raw.page_bytes();
            }
            page += len.max(1);
        }
        Ok(given)
    }

    /// Punches up to `len` pages from `first` on, whose words are like `word`; how many, `None` if the file system cannot.
    fn punch_run(
        &self,
        slot: Option<u32>,
        first: u64,
        word: Word,
        len: u64,
    ) -> Result<Option<u64>, AllocError> {
        let raw = &self.raw;
        let (Some(state), payload) = (word.state(), word.payload()) else { return Ok(Some(0)) };
        raw.intending(slot, Intent { doing: Doing::Run, first, len }, |by| {
            let Some(punching) = raw.change(first, word, PageState::Punching, by.payload()) else {
                return Ok(Some(0));
            };
            // CRASH punch: from here on the pages in hand are not free, until somebody has committed them again.
            crash_point!("punch.claimed");
            raw.unlist(FREE_LIST, first, len);
            // SYNC keep: the word first, then the mark: a page that was used meanwhile has another word.
            let wanted = |page, word: Word| word.is(state, payload) && !raw.is_kept(page);
            let len_claimed = raw.claim_bodies_of(first, 1..len, wanted);
            raw.relist(first + len_claimed, len - len_claimed);
            let (offset, bytes) = (raw.page_at(first), len_claimed * raw.page_bytes());
            let punched = self.commit.decommit(offset, bytes);
            // CRASH punched: as punch; the memory is gone, which nobody knows.
            crash_point!("punch.punched");
            let (into, payload) = match punched {
                Ok(true) => (PageState::Punched, 0),
                Ok(false) => (state, payload),
                // Some of it may be gone.
                Err(_) => (PageState::Punched, 1),
            };
            raw.drop_bodies(first, 1..len_claimed, into, payload);
            raw.change(first, punching, into, payload);
            // CRASH punch-done: the pages are as they are to be; what is free of them may be on no list.
            crash_point!("punch.done");
            raw.relist(first, len_claimed);
            Ok(punched?.then_some(len_claimed))
        })
    }

    /// Makes punched pages free again so that a run of `pages` can be had, one that may end beyond what is committed; whether
    /// there were such.
    pub(super) fn recommit_for(&self, pages: u64) -> Result<bool, AllocError> {
        let raw = &self.raw;
        let (committed, capacity) = (raw.committed(), raw.capacity_pages());
        let beyond = capacity.saturating_sub(committed);
        let (mut start, mut punched) = (0, None);
        for page in 0..committed {
            match raw.word(page).state() {
                Some(PageState::Punched) => punched = Some(page),
                Some(PageState::Free) => {}
                _ => {
                    (start, punched) = (page + 1, None);
                    continue;
                }
            }
            let len = page + 1 - start;
            if len >= pages && punched.is_some_and(|at| at + pages > page) {
                // A little more than is needed, if that is punched too, and would not be lost with this thread.
                let step = if self.own_slot().is_some() { STEP >> raw.header.heap_page_shift } else { 0 };
                let is_punched = |page: &u64| raw.word(*page).state() == Some(PageState::Punched);
                let more = (page + 1..committed.min(page + step)).take_while(is_punched).count() as u64;
                let first = page + 1 - pages;
                return match self.recommit(first..page + 1 + more) {
                    Err(_) if more > 0 => self.recommit(first..page + 1),
                    result => result,
                };
            }
        }
        let tail = committed - start.min(committed);
        match punched.is_some() && tail + beyond >= pages {
            true => self.recommit(start..committed),
            false => Ok(false),
        }
    }

    /// Makes the punched ones of these pages free again; whether there were any.
    pub(super) fn recommit(&self, pages: Range<u64>) -> Result<bool, AllocError> {
        let raw = &self.raw;
        let longest = (LONGEST >> raw.header.heap_page_shift).max(1);
        let (mut page, mut any) = (pages.start, false);
        while page < pages.end {
            let is_punched = |page: &u64| raw.word(*page).state() == Some(PageState::Punched);
            let len = (page..pages.end.min(page + longest)).take_while(is_punched).count() as u64;
            if len > 0 {
                self.recommit_run(page, len)?;
                any = true;
            }
            page += len.max(1);
        }
        Ok(any)
    }

    fn recommit_run(&self, first: u64, len: u64) -> Result<(), AllocError> {
        let raw = &self.raw;
        raw.intending(self.own_slot(), Intent { doing: Doing::Run, first, len }, |by| {
            let is_punched = |word: Word| word.state() == Some(PageState::Punched);
            let word = raw.word(first);
            if !is_punched(word) {
                return Ok(());
            }
            let Some(punching) = raw.change(first, word, PageState::Punching, by.payload()) else {
                return Ok(());
            };
            // CRASH recommit: pages not yet free are punched again, perhaps with memory; the next one commits them again.
            crash_point!("recommit.claimed");
            let len = raw.claim_bodies_of(first, 1..len, |_, word| is_punched(word));
            let committed = self.commit.commit(raw.page_at(first), len * raw.page_bytes());
            // CRASH recommitted: as recommit.
            crash_point!("recommit.committed");
            let (into, payload) = match committed {
                Ok(()) => (PageState::Free, 0),
                // Some file systems leave what they had allocated before they ran out.
                Err(_) => {
                    let gone = self.commit.decommit(raw.page_at(first), len * raw.page_bytes());
                    (PageState::Punched, u64::from(gone != Ok(true)))
                }
            };
            raw.drop_bodies(first, 1..len, into, payload);
            raw.change(first, punching, into, payload);
            // CRASH recommit-done: free pages on no list, which `heal` finds.
            crash_point!("recommit.done");
            raw.relist(first, len);
            committed
        })
    }

    /// From now on the page that the byte at `offset` stands in always has memory behind it.
    pub(super) fn keep_page(&self, offset: u64) {
        if let Ok((page, _)) = self.raw.page_of(offset) {
            // SYNC keep: the page has a live block, so it becomes free, and punchable, after this.
            self.raw.descriptor(page).kept.store(1, Ordering::SeqCst);
        }
    }
}

impl Raw {
    fn is_kept(&self, page: u64) -> bool {
        self.descriptor(page).kept.load(Ordering::SeqCst) != 0
    }
}
