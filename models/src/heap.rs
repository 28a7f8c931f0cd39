//! The library's caches, magazines and bitmaps, file by file, with stand-ins for what lies around them: a heap of two pages,
//! one class, magazines of three blocks, and nothing else to try when memory runs out than what concerns caches.
//!
//! The files below cast places in the segment to atomics. loom's of 64 bits have the size of std's, as `cache` asserts; the
//! smaller ones have not, so the structures they stand in are ours (`page`).

#[path = "../../shmem-core/src/heap/at_hand.rs"]
mod at_hand;
#[path = "../../shmem-core/src/heap/cache.rs"]
mod cache;
#[path = "../../shmem-core/src/heap/magazine.rs"]
mod magazine;
#[path = "../../shmem-core/src/heap/raw.rs"]
mod raw;
#[path = "../../shmem-core/src/heap/small.rs"]
mod small;
#[path = "../../shmem-core/src/heap/word.rs"]
mod word;

pub(crate) mod blocks;
mod classes;
mod page;
pub(crate) mod place;

/// There is no sanitizer here.
mod poison {
    pub(super) fn poison(_: [u8; 16], _: u64, _: u64) {}
    pub(super) fn unpoison(_: [u8; 16], _: u64, _: u64) {}
    pub(super) fn handed_out(_: usize, usable: usize) -> usize {
        usable
    }
}

mod report {
    /// A free that was refused.
    pub(super) struct BadFree {
        pub(super) offset: u64,
        pub(super) size_bytes: u64,
        pub(super) why: &'static str,
    }
}

use crate::error::AllocError;
use crate::mapping::commit::Commit;
use crate::mapping::registry;
use crate::participant::Participants;
use crate::primitive::Ordering;
use page::{LISTED, PageState};
use place::Place;
use raw::{FREE_LIST, Raw};
use report::BadFree;
use small::Slot;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};

impl Raw {
    /// There is no larger class.
    fn lender(&self, _: u64, _: usize) -> Option<usize> {
        None
    }
}

/// The heap of one segment, as one process has it mapped.
pub(crate) struct Heap {
    raw: Raw,
    commit: Box<dyn Commit>,
    /// One: all threads of a process work on the same bitmap words.
    slots: Box<[Slot]>,
    participants: OnceLock<Weak<Participants>>,
    epoch: registry::Epoch,
    quick_base: usize,
    checked: bool,
    place: Arc<Place>,
}

impl Heap {
    fn attach(place: Arc<Place>) -> Heap {
        let raw = place.raw();
        let (base, shift) = (raw.base(), raw.header.heap_page_shift);
        Heap {
            slots: Box::new([Slot::new(raw.classes.count())]),
            raw,
            commit: Box::new(()),
            participants: OnceLock::new(),
            epoch: registry::epoch(),
            quick_base: Heap::quick_base(base, shift),
            checked: false,
            place,
        }
    }

    /// As the library's.
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if let Some(block) = self.take_at_hand(layout) {
            return Ok(block);
        }
        let class = self.raw.classes.of(layout.size(), layout.align());
        self.allocate_small(class.expect("blocks of the one class are asked for"), layout)
    }

    /// As the library's.
    fn deallocate(&self, offset: u64, layout: Layout) {
        if !self.keep_at_hand(offset, layout) {
            let class = self.raw.classes.of(layout.size(), layout.align());
            self.free_small(offset, class.expect("of the one class"), layout);
        }
    }

    /// What of the library's own concerns caches, in its order.
    fn until_exhausted<R>(
        &self,
        size: usize,
        _: u64,
        mut attempt: impl FnMut(&Self) -> Option<R>,
    ) -> Result<R, AllocError> {
        if let Some(done) = attempt(self) {
            return Ok(done);
        }
        self.heal();
        if let Some(done) = attempt(self) {
            return Ok(done);
        }
        if let Some(participants) = self.participants() {
            participants.release_dead();
            self.empty_free_caches(&participants);
            self.empty_own_cache(&participants);
        }
        self.heal();
        attempt(self).ok_or_else(|| self.out_of_memory(size))
    }

    /// Looks at every page, as the library does when nothing else is left.
    fn heal(&self) {
        for page in 0..self.raw.committed() {
            let word = self.raw.word(page);
            match word.state() {
                Some(PageState::Free) if !self.raw.is_listed(FREE_LIST, page) => {
                    self.raw.list(FREE_LIST, page, 1);
                }
                Some(PageState::Small) => {
                    let class = word.payload() as usize;
                    let geometry = self.raw.classes.get(class).expect("the one class");
                    let free = geometry.blocks - self.raw.taken(page, geometry);
                    if free == geometry.blocks {
                        self.raw.retire_if_empty(page, class);
                    } else if free > 0 && !self.raw.is_listed(class, page) {
                        self.raw.descriptor(page).listed.store(LISTED, Ordering::SeqCst);
                        self.raw.list(class, page, 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// There is no larger class.
    fn borrow(&self, _: usize, _: Layout) -> Option<NonNull<[u8]>> {
        None
    }

    fn is_lean(&self) -> bool {
        false
    }

    fn be_lean(&self, _: std::time::Duration) {}

    fn out_of_memory(&self, _: usize) -> AllocError {
        AllocError::OutOfMemory
    }

    fn bad_free(&self, bad: BadFree) {
        panic!("a bad free of {} bytes at {}: {}", bad.size_bytes, bad.offset, bad.why);
    }
}
