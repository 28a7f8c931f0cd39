//! When no page is to be had for a class: blocks of larger ones.
//!
//! In a full segment some classes may have free blocks while others have none. A request of these is served with the
//! smallest larger block that is free, rather than refused. Its page is marked as one that *lends*, for good: a block there
//! may be freed with the layout of a smaller class, which everywhere else is a wrong layout.
//!
//! Finding out that no page is to be had means looking at every page. So a heap that has found this out is [`Lean`]: for a
//! number of requests, and not for long, it borrows at once what the lists show.

use super::Heap;
use super::page::PageState;
use super::raw::Raw;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// However long a look at all pages takes, memory that has come back is found within this time, and the next look.
pub(super) const LONGEST: Duration = Duration::from_millis(100);

/// Whether to borrow without having looked at every page. A hint of this process.
pub(super) struct Lean {
    attached: Instant,
    /// For so many more requests,
    requests: AtomicU32,
    /// until so many nanoseconds after `attached`,
    until: AtomicU64,
    /// as long as the capacity is so many pages.
    capacity: AtomicU64,
}

impl Lean {
    pub(super) fn no() -> Self {
        let [until, capacity] = [0, 0].map(AtomicU64::new);
        Lean { attached: Instant::now(), requests: AtomicU32::new(0), until, capacity }
    }
}

impl Heap {
    /// A block of a larger class for a request of this one, if there is one that is free, aligned as asked.
    pub(super) fn borrow(&self, class: usize, layout: Layout) -> Option<NonNull<[u8]>> {
        let classes = self.raw.classes;
        let mut larger = (class + 1..classes.count()).filter_map(|class| Some((class, classes.get(class)?)));
        larger.find_map(|(class, geometry)| {
            if !(geometry.size as usize).is_multiple_of(layout.align()) {
                return None;
            }
            let (page, block) = self.claim_existing(class)?;
            // CRASH borrow: the block is taken and nobody has it.
            // SYNC lender: before anybody else learns of the block, so before it is freed.
            self.raw.descriptor(page).lends.store(1, Ordering::Release);
            Some(self.hand_out(self.raw.block_place(page, class, block).0, geometry.size, layout))
        })
    }

    /// Whether to borrow without having looked at every page.
    pub(super) fn is_lean(&self) -> bool {
        let left = self.lean.requests.load(Ordering::Relaxed);
        let is_lean = left > 0
            && self.lean.capacity.load(Ordering::Relaxed) == self.raw.capacity_pages()
            && self.lean.attached.elapsed().as_nanos() < self.lean.until.load(Ordering::Relaxed).into();
        if is_lean {
            self.lean.requests.store(left - 1, Ordering::Relaxed);
        }
        is_lean
    }

    /// Every page was looked at, which took so long, and it did not help.
    pub(super) fn be_lean(&self, look: Duration) {
        // Borrowing wastes memory; looking at pages costs more, as long as it does not find any.
        let until = self.lean.attached.elapsed() + (look * 10).min(LONGEST);
        let requests = (self.raw.committed() / 16).clamp(16, 4096);
        self.lean.until.store(until.as_nanos() as u64, Ordering::Relaxed);
        self.lean.capacity.store(self.raw.capacity_pages(), Ordering::Relaxed);
        self.lean.requests.store(requests as u32, Ordering::Relaxed);
    }
}

impl Raw {
    /// The class of the block at `offset`, if it may have been handed out for a request of this smaller class.
    #[cold]
    pub(super) fn lender(&self, offset: u64, class: usize) -> Option<usize> {
        let (page, _) = self.page_of(offset).ok()?;
        let word = self.word(page);
        let larger = word.payload() as usize;
        let lends = matches!(word.state(), Some(PageState::Small | PageState::Retiring)) && self.lends(page);
        (lends && larger > class).then_some(larger)
    }

    /// Whether blocks of the page may have been handed out for smaller ones.
    pub(super) fn lends(&self, page: u64) -> bool {
        self.descriptor(page).lends.load(Ordering::Acquire) != 0
    }
}
