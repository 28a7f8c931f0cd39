//! Requests that are served with larger blocks, because no page is to be had for their class.

use super::*;

/// Takes all pages there are: for one block of each class first, from the largest down, then for spans.
fn take_all_pages(heap: &Process) -> Vec<Live> {
    let sizes =
        heap.raw.classes.table[..heap.raw.classes.count()].iter().rev().map(|class| class.size as usize);
    let mut taken: Vec<_> = sizes.map_while(|size| heap.take(layout(size, 8), 1).ok()).collect();
    let page = heap.raw.page_bytes() as usize;
    taken.extend(std::iter::from_fn(|| heap.take(layout(page, 8), 2).ok()));
    taken
}

/// How many free blocks a request of this size could be served with.
fn servable(heap: &Process, size: usize, align: usize) -> u64 {
    let fits = |class: &&SizeClassStats| {
        class.block_bytes as usize >= size && (class.block_bytes as usize).is_multiple_of(align)
    };
    heap.stats().classes.iter().filter(fits).map(|class| class.free).sum()
}

#[test]
fn whatever_is_free_and_large_enough_serves_a_request() {
    for (max, capacity) in PROFILES {
        for (size, align) in [(16, 1), (24, 8), (100, 4), (64, 64), (500, 16), (700, 512), (2000, 8)] {
            let segment = Segment::new(max, capacity, false);
            let (heap, other) = (segment.attach(), segment.attach());
            let others = take_all_pages(&heap);
            let expected = servable(&heap, size, align);
            let mut blocks: Vec<_> = std::iter::from_fn(|| heap.take(layout(size, align), 3).ok()).collect();
            assert_eq!(blocks.len() as u64, expected, "{max} {size} {align}");
            assert!(expected > 100 || max < 64 << 20 || size > 1000, "{expected} blocks are no test");
            let error = heap.allocate(layout(size, align)).unwrap_err();
            assert!(
                matches!(error, AllocError::OutOfMemory { wanted_bytes, .. } if wanted_bytes == size as u64)
            );
            assert_eq!(heap.raw.check(true), []);
            // One free: exactly one is had, by anybody.
            heap.give(&blocks.swap_remove(blocks.len() / 2));
            blocks.push(other.take(layout(size, align), 4).unwrap());
            assert!(other.allocate(layout(size, align)).is_err());
            for (i, block) in blocks.iter().enumerate() {
                let heap = if i % 2 == 0 { &heap } else { &other };
                heap.verify(block);
                // With what was asked, with what is usable, with something in between.
                let freed = [size, block.usable, size.midpoint(block.usable)][i % 3];
                // SAFETY: live; a size from the one asked for to the usable one.
                unsafe { heap.deallocate(heap.pointer(block), layout(freed, align)) };
            }
            others.iter().for_each(|block| other.give(block));
            heap.assert_unused();
        }
    }
}

#[test]
fn raw_blocks_are_lent_too() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let others = take_all_pages(&heap);
        let expected = servable(&heap, 40, 8);
        let mut blocks: Vec<_> = std::iter::from_fn(|| heap.take_raw(layout(40, 8), 3).ok()).collect();
        assert_eq!(blocks.len() as u64, expected);
        assert_eq!(heap.stats().raw_blocks, expected);
        let mut expanded = 0;
        for block in &mut blocks {
            let at = heap.pointer(block);
            let size = block.block as usize;
            // SAFETY: live raw blocks, with the layout they were asked for.
            unsafe {
                assert_eq!(heap.expand_raw(at, block.layout, size, size), Ok(size));
                let too_long = heap.expand_raw(at, block.layout, size + 1, size + 1);
                let possible_bytes = size as u64;
                assert_eq!(
                    too_long,
                    Err(AllocError::CannotExpand { wanted_bytes: possible_bytes + 1, possible_bytes })
                );
                expanded += u32::from(size > 40);
                assert!(heap.shrink_raw(at, block.layout, 1).is_some_and(|usable| usable >= 40));
                heap.free_raw(at, layout(if expanded % 2 == 0 { size } else { 40 }, 8));
            }
        }
        assert!(expanded > 10, "{expanded}");
        others.iter().for_each(|block| heap.give(block));
        heap.assert_unused();
    }
}

#[test]
fn only_pages_that_lend_take_other_layouts() {
    let segment = Segment::new(64 << 20, 16 << 20, false);
    let heap = segment.attach();
    let refuses = |live: &Live, size: usize| {
        let before = heap.stats().bad_frees;
        // SAFETY: none: this is the misuse that must be without effect.
        unsafe { heap.deallocate(heap.pointer(live), layout(size, 8)) };
        heap.stats().bad_frees == before + 1 && heap.block_at(live.offset).is_some()
    };
    let honest = heap.take(layout(1000, 8), 1).unwrap();
    assert!(refuses(&honest, 100) && refuses(&honest, 2000));
    let others = take_all_pages(&heap);
    let lent: Vec<_> = std::iter::from_fn(|| heap.take(layout(3000, 8), 3).ok()).collect();
    let larger = lent.iter().filter(|block| block.block > 4000).collect::<Vec<_>>();
    assert!(larger.len() > 10);
    // Larger layouts than the block are refused there, too.
    assert!(larger.iter().all(|block| refuses(block, block.block as usize + 1)));
    assert!(refuses(&honest, 100), "nothing was borrowed from this page");
    let bad_frees = heap.stats().bad_frees;
    lent.iter().chain(&others).chain([&honest]).for_each(|block| heap.give(block));
    assert_eq!(heap.stats().bad_frees, bad_frees);
    assert_eq!((heap.raw.check(true), heap.stats().used_bytes), (vec![], 0));
}

#[test]
fn borrowing_ends_when_there_is_memory_again() {
    let segment = Segment::new(64 << 20, 4 << 20, false);
    let heap = segment.attach();
    let others = take_all_pages(&heap);
    let class = heap.raw.classes.get(heap.raw.classes.of(2000, 8).unwrap()).unwrap();
    let own = |block: &Live| block.block == u64::from(class.size);
    let mut blocks = Vec::new();
    while blocks.last().is_none_or(own) {
        blocks.push(heap.take(layout(2000, 8), 3).unwrap());
    }
    // The next is borrowed at once, if this thread was not held up.
    while !heap.is_lean() {
        blocks.push(heap.take(layout(2000, 8), 3).unwrap());
    }
    blocks.push(heap.take(layout(2000, 8), 3).unwrap());
    assert!(!own(blocks.last().unwrap()));
    // A page is free again.
    let span = others.iter().position(|block| block.layout.size() as u64 == heap.raw.page_bytes());
    if let Some(span) = span {
        heap.give(&others[span]);
        blocks.push(heap.take(layout(2000, 8), 3).unwrap());
        assert!(own(blocks.last().unwrap()));
        blocks.extend(std::iter::from_fn(|| heap.take(layout(2000, 8), 3).ok().filter(own)));
    }
    // The segment has grown.
    heap.mapping.capacity().store(8 << 20, Ordering::SeqCst);
    blocks.push(heap.take(layout(2000, 8), 3).unwrap());
    assert!(own(blocks.last().unwrap()));
    blocks.iter().for_each(|block| heap.give(block));
    others.iter().enumerate().filter(|(i, _)| Some(*i) != span).for_each(|(_, block)| heap.give(block));
    heap.assert_unused();
}

/// Who borrows has a page in hand for a moment, which others must not take for the end of the memory.
#[test]
fn borrowers_are_not_in_each_other_s_way() {
    for threads in [2, 4] {
        // (Each fills all of the memory, which the sanitizer makes slow.)
        for _ in 0..if cfg!(shmem_poison) { 3 } else { 30 } {
            let segment = Segment::new(64 << 20, 32 << 20, false);
            let heap = segment.attach();
            let large: Vec<_> = (0..32).map(|_| heap.take(layout(2000, 8), 1).unwrap()).collect();
            let page = layout(heap.raw.page_bytes() as usize, 8);
            let mut rest: Vec<_> = std::iter::from_fn(|| heap.take(page, 2).ok()).collect();
            rest.extend(std::iter::from_fn(|| heap.take(layout(16, 8), 3).ok()));
            large[..2 * threads].iter().for_each(|block| heap.give(block));
            let others: Vec<_> = (0..threads).map(|_| segment.attach()).collect();
            let barrier = std::sync::Barrier::new(threads);
            let borrowed: Vec<_> = std::thread::scope(|scope| {
                let borrow = |heap: &Process| {
                    barrier.wait();
                    heap.take(layout(64, 8), 4)
                };
                let workers: Vec<_> = others.iter().map(|heap| scope.spawn(move || borrow(heap))).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).collect()
            });
            let borrowed = borrowed.into_iter().map(|block| block.expect("twice as many are free"));
            borrowed
                .chain(rest)
                .chain(large[2 * threads..].iter().copied())
                .for_each(|block| heap.give(&block));
            heap.assert_unused();
        }
    }
}

#[test]
fn what_comes_back_is_found_soon() {
    let segment = Segment::new(64 << 20, 16 << 20, false);
    let (heap, other) = (segment.attach(), segment.attach());
    let mut others = take_all_pages(&heap);
    let mut blocks: Vec<_> = (0..3000).map(|_| heap.take(layout(40, 8), 3).unwrap()).collect();
    while !heap.is_lean() {
        blocks.push(heap.take(layout(40, 8), 3).unwrap());
    }
    // All of it comes back, and goes to the system.
    let page = heap.raw.page_bytes() as usize;
    let spans = others.extract_if(.., |block| block.layout.size() == page).collect::<Vec<_>>();
    spans.iter().for_each(|block| other.give(block));
    assert!(other.trim().unwrap() > 0);
    std::thread::sleep(lend::LONGEST + lend::LONGEST / 2);
    blocks.push(heap.take(layout(40, 8), 3).unwrap());
    assert_eq!(blocks.last().unwrap().block, 40, "nothing is borrowed any more");
    blocks.iter().chain(&others).for_each(|block| heap.give(block));
    heap.assert_unused();
}

#[test]
fn a_full_disk_is_not_asked_each_time() {
    let segment = Segment::new(256 << 20, 256 << 20, false);
    let heap = segment.attach();
    let large: Vec<_> = (0..300).map(|_| heap.take(layout(20_000, 8), 1).unwrap()).collect();
    segment.file.calls_left.store(0, Ordering::SeqCst);
    let page = layout(heap.raw.page_bytes() as usize, 8);
    let mut rest: Vec<_> = std::iter::from_fn(|| heap.take(page, 2).ok()).collect();
    rest.extend(std::iter::from_fn(|| heap.take(layout(64, 8), 3).ok()));
    large.iter().step_by(2).for_each(|block| heap.give(block));
    let before = segment.file.calls.load(Ordering::SeqCst);
    rest.extend((0..100).map(|_| heap.take(layout(64, 8), 3).unwrap()));
    let asked = segment.file.calls.load(Ordering::SeqCst) - before;
    let once = (heap.raw.committed() / 16).ilog2() as u64 * 3 + 10;
    assert!(asked < 20 * once, "{asked} times for 100 requests");
    segment.file.calls_left.store(u64::MAX, Ordering::SeqCst);
    rest.iter().chain(large.iter().skip(1).step_by(2)).for_each(|block| heap.give(block));
    heap.assert_unused();
}
