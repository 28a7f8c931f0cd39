//! When no page is to be had for a class: blocks of larger ones.
//!
//! In a full segment some classes may have free blocks while others have none. A request of these is served with the
//! smallest larger block that is free, rather than refused. Its page is marked as one that *lends*, for good: a block there
//! may be freed with the layout of a smaller class, which everywhere else is a wrong layout.
//!
//! Finding out that no page is to be had means looking at every page. So a heap that has found this out is *lean*: for a
//! number of requests it borrows at once what the lists show, as long as no memory is left to commit.

use super::Heap;
use super::page::PageState;
use super::raw::Raw;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

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
        let left = self.lean.load(Ordering::Relaxed);
        if left == 0 || self.raw.committed() < self.raw.capacity_pages() {
            return false;
        }
        self.lean.store(left - 1, Ordering::Relaxed);
        true
    }

    /// Every page was looked at, and it did not help.
    pub(super) fn be_lean(&self) {
        // A look at a page costs about a thousandth of an allocation from one, and borrowing wastes memory.
        let requests = (self.raw.committed() / 16).clamp(16, 4096);
        self.lean.store(requests as u32, Ordering::Relaxed);
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
