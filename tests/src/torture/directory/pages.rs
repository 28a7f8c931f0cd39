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
        // It takes the directory's lock: who has a slot has an intent.
        segment.objects().expect("the directory is sound");
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
        self.desk.done();
    }
}
