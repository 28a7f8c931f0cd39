//! Raw blocks and their marks.

use super::*;
use std::collections::VecDeque;

impl Process {
    pub(super) fn take_raw(&self, layout: Layout, tag: u8) -> Result<Live, AllocError> {
        let block = self.allocate_raw(layout)?;
        assert!(block.len() >= layout.size().max(marks::SMALLEST));
        assert!(block.cast::<u8>().addr().get().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: fresh and ours.
        unsafe { block.cast::<u8>().write_bytes(tag, block.len()) };
        let offset = self.offset_of(block.cast());
        let info = self.block_at(offset).expect("a live block");
        assert_eq!((info.offset, Some(info.size_bytes)), (offset, self.raw_size(block.cast())));
        assert!(self.is_raw(offset));
        Ok(Live { offset, layout, usable: block.len(), block: info.size_bytes, tag })
    }

    fn give_raw(&self, live: &Live) {
        self.verify(live);
        // SAFETY: live; the layout it was asked with.
        unsafe { self.free_raw(self.pointer(live), live.layout) };
    }

    /// Frees raw what may be no raw block; whether that was refused.
    fn refuses(&self, offset: u64, size: usize, align: usize) -> bool {
        let before = self.stats().bad_frees;
        let at = NonNull::new(self.mapping.base().as_ptr().wrapping_add(offset as usize)).unwrap();
        // SAFETY: none: this is the misuse that must be without effect.
        unsafe { self.free_raw(at, layout(size, align)) };
        self.stats().bad_frees == before + 1
    }

    fn bit(&self, page: u64, i: u64) -> (&AtomicU64, u64) {
        (self.raw.bits(page, (i / 64) as u32), 1 << (i % 64))
    }

    /// The first bit that marks a block.
    fn first_mark_bit(&self) -> u64 {
        self.raw.bitmap_words() * 32
    }
}

#[test]
fn every_size_and_alignment_can_be_raw() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let (heap, other) = (segment.attach(), segment.attach());
        let page = heap.raw.page_bytes() as usize;
        let sizes = (0..200).chain((200..2 * page).step_by(211)).chain([page / 2, page, page + 1, 3 * page]);
        for size in sizes {
            for align in (0..=12).map(|bit| 1 << bit) {
                let raw = heap.take_raw(layout(size, align), 1).unwrap();
                let typed = heap.take(layout(size, align), 2).unwrap();
                let second = heap.take_raw(layout(size, align), 3).unwrap();
                assert!(!heap.is_raw(typed.offset));
                assert_eq!(heap.raw_size(heap.pointer(&typed)), None);
                let stats = other.stats();
                assert_eq!((stats.raw_blocks, stats.raw_bytes), (2, raw.block + second.block));
                assert_eq!(heap.raw.check(true), []);
                // SAFETY: live; a size up to the usable one.
                unsafe { other.free_raw(other.pointer(&raw), layout(raw.usable, align)) };
                heap.give(&typed);
                other.give_raw(&second);
            }
        }
        heap.assert_unused();
        assert_eq!(heap.stats().raw_blocks, 0);
        let huge = layout(8, 8192);
        assert!(matches!(
            heap.allocate_raw(huge),
            Err(AllocError::TooLarge { wanted_bytes: 8, align: 8192 })
        ));
        let absurd = Layout::from_size_align(0, 1 << 63).unwrap();
        assert!(matches!(heap.allocate_raw(absurd), Err(AllocError::TooLarge { wanted_bytes: 0, .. })));
    }
}

#[test]
fn alignment_wastes_no_more_than_the_size_class() {
    let segment = Segment::new(64 << 20, 16 << 20, false);
    let heap = segment.attach();
    for align in (5..=12).map(|bit| 1 << bit) {
        for size in [align, 3 * align, 5 * align] {
            let block = heap.take_raw(layout(size, align), 1).unwrap();
            // At most what a power of two would take, where shifting a block would take size and alignment.
            assert!(block.block <= size.next_power_of_two() as u64, "{size} {align}: {}", block.block);
            heap.give_raw(&block);
        }
    }
    heap.assert_unused();
}

#[test]
fn a_heap_full_of_raw_blocks_holds_as_many_as_one_of_others() {
    for (max, capacity) in PROFILES {
        let capacity = capacity.min(2 << 20);
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        for size in [1, 100, 1000, 5000, 70_000] {
            let typed: Vec<_> = std::iter::from_fn(|| heap.take(layout(size.max(32), 8), 1).ok()).collect();
            typed.iter().for_each(|block| heap.give(block));
            let mut raw: VecDeque<_> =
                std::iter::from_fn(|| heap.take_raw(layout(size, 8), 2).ok()).collect();
            assert_eq!(raw.len(), typed.len());
            let error = heap.allocate_raw(layout(size, 8)).unwrap_err();
            let AllocError::OutOfMemory { wanted_bytes, largest_free_bytes } = error else {
                panic!("{error}")
            };
            assert_eq!(wanted_bytes, size as u64);
            assert!(largest_free_bytes < 32.max(size as u64));
            assert_eq!(heap.stats().raw_blocks, raw.len() as u64);
            heap.assert_whole();
            // From both ends to the middle.
            while let Some(last) = raw.pop_back() {
                heap.give_raw(&last);
                raw.pop_front().iter().for_each(|first| heap.give_raw(first));
            }
            heap.assert_unused();
        }
        let whole = heap.take_raw(layout(capacity as usize, 4096), 9).unwrap();
        heap.give_raw(&whole);
        heap.assert_unused();
    }
}

#[test]
fn only_what_is_raw_is_freed_raw_and_only_once() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let page = heap.raw.page_bytes() as usize;
        let raw = heap.take_raw(layout(64, 8), 1).unwrap();
        let span = heap.take_raw(layout(3 * page, 8), 2).unwrap();
        let (typed, tiny) = (heap.take(layout(64, 8), 3).unwrap(), heap.take(layout(8, 8), 4).unwrap());
        let typed_span = heap.take(layout(3 * page, 8), 5).unwrap();
        let bad = [
            (typed.offset, 64),
            (tiny.offset, 8),
            (typed_span.offset, 3 * page),
            (raw.offset + 8, 64),
            (raw.offset, 128),
            (raw.offset, 32),
            (raw.offset, 3 * page),
            (span.offset, 64),
            (span.offset, 3 * page + 1),
            (span.offset + page as u64, 2 * page),
            (span.offset + 8, 3 * page),
            (0, 64),
            (HEAP_AT, 64),
            (segment.header.data_at - 64, 64),
            (segment.header.end - 64, 64),
            (segment.header.end + (1 << 40), 64),
        ];
        for (offset, size) in bad {
            assert!(heap.refuses(offset, size, 8), "{offset:#x} {size}");
        }
        assert!(heap.refuses(raw.offset, 64, 4096), "another alignment, and so another class");
        assert_eq!((heap.is_raw(raw.offset), heap.is_raw(span.offset)), (true, true));
        heap.give_raw(&raw);
        heap.give_raw(&span);
        assert!(heap.refuses(raw.offset, 64, 8) && heap.refuses(span.offset, 3 * page, 8), "freed twice");
        // Their neighbours, or the blocks themselves, are taken again, but not raw.
        let span_again = heap.take(layout(3 * page, 8), 7).unwrap();
        let again: Vec<_> = (0..2 * page / 64).map(|_| heap.take(layout(64, 8), 6).unwrap()).collect();
        assert!(again.iter().any(|block| block.offset == raw.offset));
        assert_eq!(span_again.offset, span.offset);
        assert!(heap.refuses(raw.offset, 64, 8) && heap.refuses(span.offset, 3 * page, 8));
        assert_eq!(heap.raw.check(true), []);
        again.iter().chain([&typed, &tiny, &typed_span, &span_again]).for_each(|block| heap.give(block));
        assert_eq!((heap.raw.check(true), heap.stats().used_bytes), (vec![], 0));
    }
}

#[test]
fn a_checked_heap_finds_raw_blocks_that_are_freed_as_others() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let Process { heap, mapping } = segment.attach();
    let heap = Process { heap: heap.with_checks(true), mapping };
    let (raw, span) = (heap.take_raw(layout(64, 8), 1).unwrap(), heap.take_raw(layout(9000, 8), 2).unwrap());
    for live in [&raw, &span] {
        // SAFETY: none: this is the misuse that must be without effect.
        unsafe { heap.deallocate(heap.pointer(live), live.layout) };
        assert!(heap.is_raw(live.offset));
    }
    assert_eq!(heap.stats().bad_frees, 2);
    heap.give_raw(&raw);
    heap.give_raw(&span);
    let typed = heap.take(layout(64, 8), 3).unwrap();
    heap.give(&typed);
    // SAFETY: as above: free already.
    unsafe { heap.deallocate(heap.pointer(&typed), typed.layout) };
    assert_eq!(heap.stats().bad_frees, 3);
    assert_eq!((heap.raw.check(true), heap.stats().used_bytes), (vec![], 0));
}

/// An allocator that was held up since the page held blocks of another size sets bits, and clears them again.
#[test]
fn a_mark_that_somebody_else_has_set_is_left_to_them() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity.min(2 << 20), false);
        let heap = segment.attach();
        let page_bytes = heap.raw.page_bytes();
        let first = heap.take_raw(layout(64, 8), 1).unwrap();
        let page = (first.offset - segment.header.data_at) / page_bytes;
        heap.take_raw(layout(64, 8), 1).map(|second| heap.give_raw(&second)).unwrap();
        // The mark of the block that comes next.
        let (word, bit) = heap.bit(page, heap.first_mark_bit() + 1);
        word.fetch_or(bit, Ordering::SeqCst);
        let third = heap.take_raw(layout(64, 8), 2).unwrap();
        assert_eq!(third.offset, first.offset + 128, "the block between is passed over");
        assert_eq!(heap.block_at(first.offset + 64), None, "and given back");
        assert_ne!(word.load(Ordering::SeqCst) & bit, 0, "the stranger finds what it set");
        word.fetch_and(!bit, Ordering::SeqCst);
        heap.give_raw(&first);
        heap.give_raw(&third);
        heap.assert_unused();

        // It is nothing to a span, whose mark stands elsewhere.
        let span = heap.take_raw(layout(page_bytes as usize, 8), 1).unwrap();
        let page = (span.offset - segment.header.data_at) / page_bytes;
        heap.give_raw(&span);
        let (word, bit) = heap.bit(page, heap.first_mark_bit());
        word.fetch_or(bit, Ordering::SeqCst);
        let again = heap.take_raw(layout(page_bytes as usize, 8), 1).unwrap();
        assert_eq!(again.offset, span.offset);
        word.fetch_and(!bit, Ordering::SeqCst);
        assert!(heap.is_raw(again.offset), "the stranger takes nothing away");
        heap.give_raw(&again);
        heap.assert_unused();

        // It is so in the last of the memory, too.
        let mut all: Vec<_> = std::iter::from_fn(|| heap.take_raw(layout(64, 8), 3).ok()).collect();
        let last = all.pop().unwrap();
        heap.give_raw(&last);
        let (page, at) = heap.raw.page_of(last.offset).unwrap();
        let (word, bit) = heap.bit(page, heap.first_mark_bit() + u64::from(at / 64));
        word.fetch_or(bit, Ordering::SeqCst);
        assert!(matches!(heap.allocate_raw(layout(64, 8)), Err(AllocError::OutOfMemory { .. })));
        assert_eq!(heap.block_at(last.offset), None);
        word.fetch_and(!bit, Ordering::SeqCst);
        all.push(heap.take_raw(layout(64, 8), 3).unwrap());
        all.iter().for_each(|block| heap.give_raw(block));
        heap.assert_unused();
    }
}

#[test]
fn marks_of_what_is_not_live_are_found() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let whats = || heap.raw.check(true).into_iter().map(|found| found.what).collect::<Vec<_>>();
        let (block, span) =
            (heap.take_raw(layout(64, 8), 1).unwrap(), heap.take_raw(layout(70_000, 8), 1).unwrap());
        let page_of = |live: &Live| heap.raw.page_of(live.offset).unwrap().0;
        let page_blocks = heap.raw.page_bytes() / 64;
        let first = heap.first_mark_bit();
        let cases = [
            (page_of(&block), first + 1, "a block that is not live is marked raw"),
            (page_of(&block), first + page_blocks - 1, "a block that is not live is marked raw"),
            (page_of(&block), first + page_blocks, "a block that is not live is marked raw"),
            (page_of(&block), page_blocks, "a page has blocks beyond its end, or is being retired"),
            (page_of(&span), first + 1, "a span has blocks of a size class"),
            (page_of(&span), 0, "a span has blocks of a size class"),
            (page_of(&span), first, "a span has blocks of a size class"),
            (page_of(&span) + 1, first, "a page inside a span has blocks"),
        ];
        for (page, i, what) in cases {
            assert_eq!(whats(), [""; 0]);
            let (word, bit) = heap.bit(page, i);
            word.fetch_xor(bit, Ordering::SeqCst);
            assert_eq!(whats(), [what], "bit {i}");
            assert_eq!(heap.check(), [], "a death may leave it");
            word.fetch_xor(bit, Ordering::SeqCst);
        }
        for page in [page_of(&block), page_of(&span) + 1, heap.raw.committed() - 1] {
            heap.raw.mark_span(page);
            assert_eq!(whats(), ["a page that begins no span is marked as a raw one"]);
            heap.raw.unmark_span(page);
        }
        heap.give_raw(&block);
        heap.give_raw(&span);
        heap.assert_unused();
    }
}

#[test]
fn raw_blocks_expand_as_far_as_there_is_room() {
    let cannot = |result: Result<usize, AllocError>| match result {
        Err(AllocError::CannotExpand { wanted_bytes, possible_bytes }) => (wanted_bytes, possible_bytes),
        other => panic!("{other:?}"),
    };
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let page = heap.raw.page_bytes() as usize;
        // SAFETY: each block is live and has the layout given, or it is the misuse that must be without effect.
        let expand = |live: &Live, least, preferred| unsafe {
            heap.expand_raw(heap.pointer(live), live.layout, least, preferred)
        };
        let small = heap.take_raw(layout(100, 4), 1).unwrap();
        let room = small.block as usize;
        assert_eq!(expand(&small, 100, 101).unwrap(), poison::handed_out(101, room));
        assert_eq!(expand(&small, 0, usize::MAX).unwrap(), room, "as far as its class goes");
        assert_eq!(cannot(expand(&small, room + 1, 2 * room)), (room as u64 + 1, room as u64));

        let span = heap.take_raw(layout(page, 8), 2).unwrap();
        let fence = heap.take_raw(layout(page, 8), 3).unwrap();
        assert_eq!(fence.offset, span.offset + page as u64);
        assert_eq!(cannot(expand(&span, page + 1, 5 * page)), (page as u64 + 1, page as u64));
        assert_eq!(expand(&span, page, 5 * page).unwrap(), page);
        let wall = heap.take_raw(layout(page, 8), 4).unwrap();
        heap.give_raw(&fence);
        // One page free, then the wall.
        assert_eq!(cannot(expand(&span, 3 * page, 5 * page)), (3 * page as u64, 2 * page as u64));
        assert_eq!(expand(&span, page + 1, 5 * page).unwrap(), 2 * page, "less than preferred, but enough");
        heap.verify(&span);
        assert_eq!(heap.raw_size(heap.pointer(&span)), Some(2 * page as u64));
        heap.give_raw(&wall);
        // Beyond what is committed, up to the capacity.
        let all = capacity as usize - (span.offset - segment.header.data_at) as usize;
        let got = expand(&span, all, usize::MAX).unwrap();
        assert_eq!(got, all);
        assert_eq!(cannot(expand(&span, all + 1, all + 1)), (all as u64 + 1, all as u64));
        heap.verify(&span);
        // The layout may be the first one, or any up to the new size.
        // SAFETY: live.
        unsafe { heap.free_raw(heap.pointer(&span), layout(all - 5, 8)) };
        heap.give_raw(&small);
        heap.assert_unused();

        let typed = heap.take(layout(100, 4), 1).unwrap();
        assert_eq!(cannot(expand(&typed, 100, 100)), (100, 0), "it is not raw");
        heap.give(&typed);
        assert_eq!(cannot(expand(&typed, 100, 100)), (100, 0), "it is not live");
        assert_eq!(heap.stats().bad_frees, 0, "nothing was freed");
    }
}

#[test]
fn what_cannot_be_committed_is_not_expanded_into() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    let span = heap.take_raw(layout(4096, 8), 1).unwrap();
    segment.file.calls_left.store(0, Ordering::SeqCst);
    let there = heap.raw.page_at(heap.raw.committed()) - span.offset;
    assert!(there > 4096);
    // SAFETY: live, with its layout.
    let expand = |least| unsafe { heap.expand_raw(heap.pointer(&span), span.layout, least, 500_000) };
    match expand(there as usize + 1) {
        Err(AllocError::CannotExpand { possible_bytes, .. }) => assert_eq!(possible_bytes, there),
        other => panic!("{other:?}"),
    }
    assert_eq!(expand(4097).unwrap(), there as usize);
    segment.file.calls_left.store(u64::MAX, Ordering::SeqCst);
    // Under the sanitizer a block is as long as asked for.
    let whole = if cfg!(shmem_poison) { 500_000 } else { 500_000usize.next_multiple_of(4096) };
    assert_eq!(expand(4097).unwrap(), whole);
    heap.give_raw(&span);
    heap.assert_unused();
}

// ---- overwriting what is free -----------------------------------------------------------------------------

impl Process {
    /// Every byte of committed pages that is no live block's, in whole runs.
    fn each_free_run(&self, mut f: impl FnMut(u64, &[u8])) {
        let mut at = self.raw.header.data_at;
        let end = self.raw.page_at(self.raw.committed());
        let mut blocks = Vec::new();
        self.for_each_live_block(&mut |block| blocks.push(block));
        blocks.push(BlockInfo { offset: end, size_bytes: 0 });
        for block in blocks {
            let len = (block.offset - at) as usize;
            // SAFETY: committed; the test's other threads are gone.
            f(at, unsafe { std::slice::from_raw_parts(self.raw.at(at), len) });
            at = block.offset + block.size_bytes;
        }
    }
}

// The sanitizer forbids to look at what is free.
#[cfg(not(shmem_poison))]
#[test]
fn free_memory_is_zeroed_and_nothing_else() {
    for (max, capacity) in PROFILES {
        let capacity = capacity.min(2 << 20);
        let segment = Segment::new(max, capacity, true);
        let heap = segment.attach();
        let page = heap.raw.page_bytes();
        // Everything has been something else before, also what no block of a class reaches.
        let whole = heap.take(layout(capacity as usize, 4096), 0xFF).unwrap();
        heap.give(&whole);
        let mut dirty = 0;
        heap.each_free_run(|_, bytes| dirty += bytes.iter().filter(|byte| **byte == 0xFF).count());
        assert_eq!(dirty as u64, capacity);
        let (mut blocks, mut random) = (Vec::new(), Random(11));
        // Full pages and others, of every kind of class.
        for size in [8, 24, 32, 56, 100, 300, 600, 700, 1500, 3 * page as usize / 2] {
            for n in 0..page / size.max(16) as u64 + 3 {
                let layout = layout(size, 8);
                blocks.push(match n % 2 {
                    0 => (heap.take(layout, size as u8).unwrap(), false),
                    _ => (heap.take_raw(layout, size as u8).unwrap(), true),
                });
            }
        }
        let give = |(live, is_raw): &(Live, bool)| match is_raw {
            true => heap.give_raw(live),
            false => heap.give(live),
        };
        let (gone, kept): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|_| random.below(4) == 0);
        gone.iter().for_each(give);
        let used = heap.stats().used_bytes;
        let calls = segment.file.calls.load(Ordering::SeqCst);
        let mut dirty = 0u64;
        heap.each_free_run(|_, bytes| dirty += bytes.iter().filter(|byte| **byte != 0).count() as u64);
        assert!(dirty > 0);

        let bytes = heap.zero_free();
        heap.each_free_run(|at, run| assert!(run.iter().all(|byte| *byte == 0), "at {at:#x}"));
        assert!(bytes >= dirty && bytes >= capacity - used - capacity / 8, "{bytes} of {}", capacity - used);
        kept.iter().for_each(|(live, _)| heap.verify(live));
        assert_eq!(heap.stats().used_bytes, used);
        heap.assert_whole();
        assert_eq!(segment.file.calls.load(Ordering::SeqCst), calls, "nothing was committed");
        kept.iter().for_each(give);
        heap.assert_unused();
        heap.zero_free();
        let whole = heap.take(layout(capacity as usize, 4096), 1).unwrap();
        heap.give(&whole);
        heap.assert_unused();
    }
}

#[cfg(not(shmem_poison))]
#[test]
fn what_deaths_left_is_passed_over_by_zeroing() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    let blocks: Vec<_> = (0..100).map(|_| heap.take(layout(56, 8), 0xFF).unwrap()).collect();
    blocks[1..].iter().for_each(|block| heap.give(block));
    let page = heap.raw.page_of(blocks[0].offset).unwrap().0;
    // Its retirer died.
    heap.raw.change(page, heap.raw.word(page), PageState::Retiring, heap.raw.word(page).payload()).unwrap();
    // So did somebody who held the page by the first bit that stands for no block.
    let (word, bit) = heap.bit(page, 4096 / 56);
    word.fetch_or(bit, Ordering::SeqCst);
    // A claim that nobody ends.
    let claimed = heap.take(layout(4096, 8), 0xFF).unwrap();
    let claimed_page = heap.raw.page_of(claimed.offset).unwrap().0;
    heap.raw.change(claimed_page, heap.raw.word(claimed_page), PageState::Claiming, 1).unwrap();
    heap.zero_free();
    let word_of_page = heap.raw.word(page);
    assert_eq!(word_of_page.state(), Some(PageState::Small));
    heap.verify(&blocks[0]);
    heap.verify(&claimed);
    heap.each_free_run(|at, run| {
        let not_the_claim = at > claimed.offset || at + (run.len() as u64) <= claimed.offset;
        assert!(run.iter().all(|byte| *byte == 0) || !not_the_claim, "at {at:#x}");
    });
    word.fetch_and(!bit, Ordering::SeqCst);
    heap.give(&blocks[0]);
    assert_eq!(heap.check(), []);
}

#[test]
fn free_memory_is_zeroed_while_others_work() {
    for (max, capacity) in PROFILES {
        let capacity = capacity.min(1 << 20);
        let segment = Segment::new(max, capacity, false);
        let heaps = [segment.attach(), segment.attach()];
        let stop = AtomicBool::new(false);
        let rounds = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let zeroers = [0, 1].map(|i| {
                let (heap, stop, rounds) = (&heaps[i], &stop, &rounds);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        heap.zero_free();
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            let workers = [0u64, 1].map(|i| {
                let (one, two) = (&heaps[0], &heaps[1]);
                // Checks, whenever it frees a block, that nobody has written to it.
                scope.spawn(move || churn(&[one, two], 20 << 20, capacity / 16, 7 + i))
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            stop.store(true, Ordering::Relaxed);
            zeroers.into_iter().for_each(|zeroer| zeroer.join().unwrap());
        });
        assert!(rounds.load(Ordering::Relaxed) > 0);
        heaps[1].leave_all();
        heaps[0].assert_unused();
        // No page was lost.
        heaps[0].give(&heaps[0].take(layout(capacity as usize, 8), 1).unwrap());
    }
}

// ---- figures ----------------------------------------------------------------------------------------------

#[test]
fn figures_add_up() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let (mut random, mut blocks) = (Random(3), Vec::new());
        for n in 0..150 {
            let layout = layout(random.below(9000) as usize, 8);
            match n % 3 {
                0 => blocks.push((heap.take_raw(layout, n as u8).unwrap(), true)),
                _ => blocks.push((heap.take(layout, n as u8).unwrap(), false)),
            }
            if n % 4 == 0 {
                let (live, is_raw) = blocks.swap_remove(random.below(blocks.len() as u64) as usize);
                if is_raw { heap.give_raw(&live) } else { heap.give(&live) }
            }
        }
        let stats = heap.stats();
        assert_eq!(stats.used_bytes, blocks.iter().map(|(live, _)| live.block).sum::<u64>());
        let raw = || blocks.iter().filter(|(_, is_raw)| *is_raw);
        assert_eq!(stats.raw_blocks, raw().count() as u64);
        assert_eq!(stats.raw_bytes, raw().map(|(live, _)| live.block).sum::<u64>());
        assert_eq!(stats.free_bytes, stats.capacity_bytes - stats.used_bytes);
        let of_classes: u64 = stats.classes.iter().map(|class| class.pages).sum();
        assert_eq!(stats.claimed_pages, 0);
        assert_eq!(of_classes + stats.span_pages + stats.free_pages, stats.committed_pages);
        assert_eq!(stats.committed_pages * stats.page_bytes, stats.committed_bytes);
        let live: u64 = stats.classes.iter().map(|class| class.live).sum();
        assert_eq!(live + stats.spans, blocks.len() as u64);
        for class in &stats.classes {
            assert_eq!(class.live + class.free, class.pages * (stats.page_bytes / class.block_bytes));
            let alive = blocks.iter().filter(|(live, _)| live.block == class.block_bytes).count() as u64;
            assert_eq!((class.live, class.cached), (alive, 0));
        }
        assert!(stats.classes.is_sorted_by_key(|class| class.block_bytes));
        assert!((0.0..1.0).contains(&stats.fragmentation()) && (0.1..=1.0).contains(&stats.occupancy()));
        // The largest block that is said to be had, can be, and no larger one.
        let largest = stats.largest_free_bytes as usize;
        let had = heap.take(layout(largest, 8), 1).unwrap();
        heap.give(&had);
        assert!(heap.allocate(layout(largest + 1, 8)).is_err());
        for (live, is_raw) in &blocks {
            if *is_raw { heap.give_raw(live) } else { heap.give(live) }
        }
        heap.assert_unused();
        heap.leave_all();
        let stats = heap.stats();
        assert_eq!((stats.fragmentation(), stats.occupancy()), (0.0, 1.0));
        assert_eq!((stats.largest_free_bytes, stats.classes.len(), stats.spans), (capacity, 0, 0));
    }
}

#[test]
fn figures_are_shown_as_a_table() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    let mut blocks: Vec<_> = (0..70).map(|_| heap.take(layout(64, 8), 1).unwrap()).collect();
    blocks.push(heap.take(layout(1000, 8), 1).unwrap());
    blocks.push(heap.take(layout(12_000, 8), 1).unwrap());
    let raw = heap.take_raw(layout(1000, 8), 1).unwrap();
    let shown = heap.stats().to_string();
    let expected = "\
capacity 1.0 MiB: 18.4 KiB used, 1005.6 KiB free (0 B in caches); 32.0 KiB committed
largest block to be had 1000.0 KiB; fragmentation 0.6 %, pages in use filled to 76.6 %
pages of 4.0 KiB: 3 of blocks, 3 of spans, 0 claimed, 2 free
raw blocks 1 (1.0 KiB); bad frees 0
block size     pages        live        free    cached        used
        64         2          70          58         0     4.4 KiB
      1024         1           2           2         0     2.0 KiB
     spans         3           1           -         -    12.0 KiB";
    assert_eq!(shown, expected, "\n{shown}");
    heap.give_raw(&raw);
    blocks.iter().for_each(|block| heap.give(block));
}
