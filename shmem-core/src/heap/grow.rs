//! What happens when no page is to be had: looking at every page, committing more memory, waiting for claims under
//! way, and at last giving up.

use super::Heap;
use super::page::{ADOPTED, LISTED, PageState};
use super::poison;
use super::raw::{FREE_LIST, Raw};
use crate::error::AllocError;
use crate::mapping::commit::Commit;
use crate::mapping::superblock::{DESCRIPTOR_BYTES, OS_PAGE, bitmap_bytes};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a claim under way may keep others from reporting that memory ran out. A claim takes microseconds; one
/// that is older belongs to a process that died or was stopped in it.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// After so many looks somebody asks whether a claimant is dead.
const DEAD_BY_NOW: u32 = 8;

/// Memory is committed in steps that double what there is up to this size, and then add a sixteenth: the system overwrites what
/// it gives, and every page is looked at before more is asked for.
const DOUBLED_UP_TO: u64 = 1 << 20;
/// The largest step in which memory is committed.
const LARGEST_STEP: u64 = 256 << 20;

/// What a look at every page has shown.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The claims under way: page and word.
    claims: Vec<(u64, u64)>,
    /// Whether there are punched pages.
    punched: bool,
    /// Another number when a page has changed (but for a coincidence).
    changes: u64,
}

/// How much of the heap a new segment commits.
fn first_step(page_shift: u32) -> u64 {
    match page_shift {
        12 => 8 << 10,
        14 => 64 << 10,
        _ => 128 << 10,
    }
}

impl Raw {
    /// Commits memory for pages `from..to`, with their descriptors and bitmaps. The pages below `from` have theirs.
    pub(super) fn commit_pages(&self, commit: &dyn Commit, from: u64, to: u64) -> Result<(), AllocError> {
        let table = |at: u64, bytes: u64| {
            // The last memory page of what `from` pages need is there already.
            let start = (from * bytes).next_multiple_of(OS_PAGE);
            (at + start, at + (to * bytes).next_multiple_of(OS_PAGE))
        };
        let ranges = [
            table(self.header.descriptors_at, DESCRIPTOR_BYTES),
            table(self.header.bitmaps_at, bitmap_bytes(self.header.heap_page_shift)),
            (self.page_at(from), self.page_at(to)),
        ];
        // In a small segment the three touch: one system call.
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(3);
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(last) if last.1 == start => last.1 = end.max(start),
                _ if start < end => merged.push((start, end)),
                _ => {}
            }
        }
        merged.into_iter().try_for_each(|(start, end)| commit.commit(start, end - start))
    }

    /// Commits up to `to` pages and lets everybody use them. Smaller steps, but no fewer than `at_least` pages, are
    /// tried before giving up.
    pub(super) fn commit_up_to(
        &self,
        commit: &dyn Commit,
        at_least: u64,
        mut to: u64,
    ) -> Result<(), AllocError> {
        let from = self.committed();
        if at_least <= from {
            return Ok(());
        }
        // CRASH commit: memory is behind pages that nobody uses yet; the next step commits them again.
        while let Err(error) = self.commit_pages(commit, from, to) {
            if to == at_least {
                return Err(error);
            }
            to = at_least + (to - at_least) / 2;
        }
        poison::poison_fresh(self.header.segment_id, self.page_at(from), self.page_at(to));
        // SYNC commit: whoever reads the new number may touch the pages: this process has seen the system call
        // return, and it is one file for all. Several may commit overlapping ranges, each from what it saw committed:
        // the largest end wins, and everything below it was committed by someone.
        let before = self.head().committed.fetch_max(to, Ordering::AcqRel).min(self.max_pages);
        // CRASH committed: free pages on no list; `heal` lists them.
        if before < to {
            self.list(FREE_LIST, before, to - before);
        }
        Ok(())
    }

    /// The pages a new segment commits.
    pub(super) fn first_pages(&self) -> u64 {
        first_step(self.header.heap_page_shift) >> self.header.heap_page_shift
    }
}

impl Heap {
    /// Commits at least `to` pages; `false` if the capacity is smaller.
    pub(super) fn commit_to(&self, to: u64) -> Result<bool, AllocError> {
        // One thread of a process at a time; not a rule (a fork may have taken the holder away), only thrift.
        let _growing = self.growing.try_lock();
        let (committed, capacity) = (self.raw.committed(), self.raw.capacity_pages());
        if to > capacity {
            return Ok(false);
        }
        let [doubled, largest] =
            [DOUBLED_UP_TO, LARGEST_STEP].map(|bytes| bytes >> self.raw.header.heap_page_shift);
        let step = committed.min(doubled).max(committed / 16).clamp(self.raw.first_pages(), largest);
        let wanted = to.max(committed + step).min(capacity);
        self.raw.commit_up_to(&*self.commit, to, wanted)?;
        Ok(true)
    }

    /// Calls `attempt` until it succeeds or there is nothing left to try. `attempt` wants a block of `size` bytes,
    /// for which `pages` free pages in a row would do.
    #[cold]
    pub(super) fn until_exhausted<R>(
        &self,
        size: usize,
        pages: u64,
        mut attempt: impl FnMut(&Self) -> Option<R>,
    ) -> Result<R, AllocError> {
        let begun = Instant::now();
        let (mut refused, mut seen, mut since) = (None, Survey::default(), begun);
        let (mut commits, mut waits, mut emptied) = (0u32, 0u32, false);
        loop {
            if let Some(done) = attempt(self) {
                return Ok(done);
            }
            // What deaths have left off the lists first, then what was given back to the system, then more memory.
            let survey = self.heal(false);
            if let Some(done) = attempt(self) {
                return Ok(done);
            }
            if refused.is_none() && survey.punched {
                match self.recommit_for(pages) {
                    Ok(true) if commits < 1000 => {
                        commits += 1;
                        if let Some(done) = attempt(self) {
                            return Ok(done);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => refused = Some(error),
                }
            }
            if refused.is_none() {
                match self.commit_to(self.committed_for(pages)) {
                    // `true` also when another thread had committed enough by now.
                    Ok(true) if commits < 1000 => {
                        commits += 1;
                        continue;
                    }
                    Ok(_) => {}
                    Err(error) => refused = Some(error),
                }
            }
            if !emptied {
                emptied = true;
                if let Some(participants) = self.participants() {
                    participants.release_dead();
                    self.empty_free_caches(&participants);
                    self.empty_own_cache(&participants);
                }
                continue;
            }
            let survey = self.heal(true);
            if let Some(done) = attempt(self) {
                return Ok(done);
            }
            let give_up = || refused.unwrap_or_else(|| self.out_of_memory(size));
            // No claim is under way, and between two looks at every page none has changed: it is true. (Or so much
            // changes that it might as well be.)
            if survey.claims.is_empty() && (survey == seen || waits >= 32) {
                return Err(give_up());
            }
            if survey != seen {
                (seen, since) = (survey, Instant::now());
            } else if since.elapsed() >= PATIENCE {
                self.abandon(&seen.claims);
                self.heal(true);
                return attempt(self).ok_or_else(give_up);
            }
            if begun.elapsed() >= 4 * PATIENCE {
                return Err(give_up());
            }
            waits += 1;
            if waits == DEAD_BY_NOW
                && let Some(participants) = self.participants()
            {
                participants.settle_dead();
            }
            match waits {
                0..16 => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Looks at every page: lists those that ought to be on a list (with `all`, every page with a free block), gives
    /// empty ones back, undoes retirements.
    pub(super) fn heal(&self, all: bool) -> Survey {
        let (raw, mut page, mut survey) = (&self.raw, 0, Survey::default());
        let committed = raw.committed();
        while page < committed {
            let word = raw.word(page);
            survey.changes = survey.changes.rotate_left(7).wrapping_add(word.0);
            let mut len = 1;
            match word.state() {
                Some(PageState::Free) if !raw.is_listed(FREE_LIST, page) => raw.list(FREE_LIST, page, 1),
                Some(PageState::Small) => self.heal_small(page, word.payload() as usize, all),
                // Its retirer is dead, or will find that it was overtaken.
                Some(PageState::Retiring)
                    if raw.change(page, word, PageState::Small, word.payload()).is_some() =>
                {
                    self.heal_small(page, word.payload() as usize, all)
                }
                Some(PageState::Claiming | PageState::Punching) if !self.is_abandoned(page, word.0) => {
                    survey.claims.push((page, word.0));
                    len = raw.claim_len(page, word);
                }
                Some(PageState::Punched) => survey.punched = true,
                Some(PageState::Head) => len = word.payload(),
                _ => {}
            }
            page += len.max(1);
        }
        survey
    }

    fn heal_small(&self, page: u64, class: usize, all: bool) {
        let Some(geometry) = self.raw.classes.get(class) else { return };
        let free = geometry.blocks.saturating_sub(self.raw.taken(page, geometry));
        let descriptor = self.raw.descriptor(page);
        let least = match descriptor.listed.load(Ordering::Relaxed) {
            _ if all => 1,
            ADOPTED => geometry.blocks.div_ceil(4),
            _ => geometry.worth,
        };
        if free == geometry.blocks {
            self.raw.retire_if_empty(page, class);
        } else if free >= least && !self.raw.is_listed(class, page) {
            descriptor.listed.store(LISTED, Ordering::SeqCst);
            self.raw.list(class, page, 1);
        }
    }

    /// From now on does not wait for these claims.
    fn abandon(&self, claims: &[(u64, u64)]) {
        if let Ok(mut abandoned) = self.abandoned.try_lock() {
            abandoned.extend(claims.iter().copied());
        }
    }

    pub(super) fn is_abandoned(&self, page: u64, word: u64) -> bool {
        self.abandoned.try_lock().is_ok_and(|abandoned| abandoned.get(&page) == Some(&word))
    }

    /// The error for a request of `size` bytes.
    pub(super) fn out_of_memory(&self, size: usize) -> AllocError {
        AllocError::OutOfMemory { wanted_bytes: size as u64, largest_free_bytes: self.largest_free() }
    }
}
