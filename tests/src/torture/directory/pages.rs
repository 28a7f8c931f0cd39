//! Large blocks beside the names, for deaths at the heap's own points.

use super::Worker;
use shmem_core::Segment;
use std::alloc::Layout;
use std::ptr::NonNull;

/// Bytes in the largest of the heap's pages.
const PAGE: usize = 64 << 10;

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE, 8).expect("a few pages")
}

fn take(segment: &Segment, pages: usize) -> Option<NonNull<u8>> {
    Some(segment.access().allocate(layout(pages)).ok()?.cast())
}

impl Worker<'_> {
    /// Large blocks come, become longer and shorter, and go; memory is given back.
    pub fn work_on_pages(&mut self) {
        self.desk.doing("work on pages", 0);
        let segment = self.segment.clone();
        let n = 2 + self.random.below(4) as usize;
        let (one, two) = (take(&segment, n), take(&segment, n));
        let free = |block, pages| {
            // SAFETY: a live block of that many pages, of this thread alone.
            unsafe { segment.access().deallocate(block, layout(pages)) }
        };
        if let Some(one) = one {
            free(one, n);
        }
        if let Some(two) = two {
            let mut len = n;
            // SAFETY: a live block of this thread alone; what is cut off is not used.
            unsafe {
                if segment.access().grow_in_place(two, layout(n), (n + 3) * PAGE).is_some() {
                    len = n + 3;
                }
                segment.access().shrink_in_place(two, layout(len), PAGE, |_| {});
            }
            if self.random.below(4) == 0 {
                segment.trim().expect("tmpfs has holes");
            }
            free(two, 1);
        }
        self.expand_backward(&segment, n);
        self.desk.done();
    }

    /// A raw block gets the pages before it.
    fn expand_backward(&self, segment: &Segment, n: usize) {
        let take = |pages| Some(segment.allocate(layout(pages)).ok()?.cast::<u8>());
        let (Some(before), Some(block)) = (take(n), take(n)) else { return };
        // SAFETY: live blocks of this thread alone, each with the layout it has.
        unsafe {
            segment.deallocate(before, layout(n));
            match segment.try_expand_backward(block, layout(n), (n + 1) * PAGE, 2 * n * PAGE) {
                Ok(longer) => segment.deallocate(longer.cast(), layout(n + 1)),
                Err(_) => segment.deallocate(block, layout(n)),
            }
        }
    }
}
