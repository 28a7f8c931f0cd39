//! Spans that become shorter, memory that goes back to the system, and deaths in the middle of either.

use super::*;
use crate::crash;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The slot of whoever dies.
const DEAD: u32 = 3;

impl Segment {
    fn attach_in_slot(&self, slot: u32) -> Process {
        let process = self.attach();
        process.heap.pretend_slot(slot);
        process
    }

    /// The word for the intent in a slot.
    fn erase_intent(&self, process: &Process, slot: u32) {
        let at = self.header.slots_at + u64::from(slot) * 128 + 24;
        // SAFETY: in the slot table, which is committed; an aligned atomic.
        unsafe { &*process.raw.at(at).cast::<AtomicU64>() }.store(0, Ordering::SeqCst);
    }
}

impl Process {
    fn live(&self) -> Vec<BlockInfo> {
        let mut found = Vec::new();
        self.for_each_live_block(&mut |block| found.push(block));
        found
    }

    /// No page is lost: what is in use is what the live blocks take.
    #[track_caller]
    fn assert_accounted(&self) {
        assert_eq!(self.raw.check(true), []);
        let live: u64 = self.live().iter().map(|block| block.size_bytes).sum();
        assert_eq!(self.stats().used_bytes, live);
    }

    fn free_all(&self) {
        for block in self.live() {
            let at = NonNull::new(self.raw.at(block.offset)).unwrap();
            let layout = layout(block.size_bytes as usize, 8);
            // SAFETY: nobody uses it any more; its usable size is one to free it with.
            unsafe {
                if self.is_raw(block.offset) {
                    self.free_raw(at, layout)
                } else {
                    self.deallocate(at, layout)
                }
            };
        }
    }
}

#[test]
fn memory_that_is_given_back_is_gone_and_comes_again() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, true);
        let (heap, other) = (segment.attach(), segment.attach());
        let page = heap.raw.page_bytes();
        let before = segment.file_blocks_bytes();
        let span = heap.take(layout(capacity as usize / 2, 8), 7).unwrap();
        let small = heap.take(layout(100, 8), 8).unwrap();
        // All but the two blocks' pages.
        let expected = capacity - span.block - page;
        assert_eq!(other.trim().unwrap(), expected);
        assert_eq!(segment.file_blocks_bytes(), before - expected);
        assert_eq!(heap.stats().committed_bytes, capacity - expected);
        assert_eq!(heap.stats().free_bytes, capacity - span.block - small.block);
        assert_eq!(heap.trim().unwrap(), 0, "it is gone already");
        let file_bytes = segment.file_bytes();
        // Nothing that looks at the heap touches it.
        heap.assert_accounted();
        heap.raw.page_of(segment.header.end - 1).map(|_| heap.block_at(segment.header.end - 1)).ok();
        assert_eq!(heap.largest_free(), expected);
        drop(segment.attach());
        assert_eq!(segment.file_blocks_bytes(), before - expected);
        heap.verify(&span);
        heap.give(&span);
        heap.give(&small);
        assert_eq!(heap.trim().unwrap(), capacity - expected);
        assert_eq!(heap.stats().committed_bytes, 0);
        heap.assert_unused();
        // All of it comes back, zeroed, and the file is no longer than it was.
        let all = heap.allocate(layout(capacity as usize, 8)).unwrap();
        // SAFETY: fresh and ours.
        assert!(unsafe { all.as_ref() }.iter().all(|byte| *byte == 0));
        assert_eq!(segment.file_blocks_bytes(), before);
        assert_eq!(segment.file_bytes(), file_bytes);
        assert_eq!(heap.stats().committed_bytes, capacity);
        // SAFETY: live; the layout it was asked with.
        unsafe { heap.deallocate(all.cast(), layout(capacity as usize, 8)) };
        heap.assert_unused();
    }
}

#[test]
fn what_was_given_back_is_used_before_more_is_committed() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let page = heap.raw.page_bytes();
        // Until about half is committed.
        let blocks: Vec<_> =
            (0..capacity / page / 2).map(|_| heap.take(layout(page as usize, 8), 1)).collect();
        let committed = heap.raw.committed();
        blocks.iter().for_each(|block| heap.give(block.as_ref().unwrap()));
        assert_eq!(heap.trim().unwrap(), committed * page);
        // One block: not all of it comes back.
        let small = heap.take(layout(50, 8), 2).unwrap();
        assert!(heap.stats().committed_bytes <= 256 << 10);
        let span = heap.take(layout((committed as usize / 2) * page as usize, 8), 3).unwrap();
        assert_eq!(heap.raw.committed(), committed);
        // A span longer than that begins in it, and goes on behind.
        heap.give(&span);
        heap.trim().unwrap();
        let rest = capacity - page;
        let span = heap.take(layout(rest as usize, 8), 4).unwrap();
        assert_eq!(span.offset, heap.raw.page_at(1), "the first page holds the small block");
        heap.verify(&small);
        heap.give(&span);
        heap.give(&small);
        heap.assert_unused();
    }
}

#[test]
fn spans_become_shorter_where_they_stand() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let (heap, other) = (segment.attach(), segment.attach_in_slot(1));
        let page = heap.raw.page_bytes() as usize;
        let mut block = heap.take(layout(capacity as usize, 8), 7).unwrap();
        let mut size = capacity as usize;
        for (i, by) in [1, 2 * page, 3 * page + 5, size / 2].into_iter().enumerate() {
            size -= by;
            assert!([&heap, &other][i % 2].shrink(&mut block, size));
            assert_eq!(block.block as usize, size.next_multiple_of(page));
            heap.verify(&block);
            // What was given back is to be had, just behind it.
            if capacity > block.block {
                let rest = other.take(layout((capacity - block.block) as usize, 8), 9).unwrap();
                assert_eq!(rest.offset, block.offset + block.block);
                heap.give(&rest);
            }
            heap.assert_accounted();
        }
        assert!(heap.shrink(&mut block, page + 1));
        assert!(!heap.shrink(&mut block, page / 2), "a block of that size is no span");
        assert!(heap.shrink(&mut block, page / 2 + 1));
        assert_eq!(block.block as usize, page);
        // And longer again: also over what the system was given.
        assert_eq!(heap.trim().unwrap(), (heap.raw.committed() - 1) * page as u64);
        // SAFETY: live, with the layout it has.
        let grown = unsafe { heap.grow_in_place(heap.pointer(&block), block.layout, capacity as usize) };
        assert_eq!(grown, Some(capacity as usize));
        heap.give(&block);
        let mut small = heap.take(layout(200, 8), 1).unwrap();
        assert!(!heap.shrink(&mut small, 10));
        heap.give(&small);
        heap.assert_unused();
    }
}

#[test]
fn spans_get_pages_before_them() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, true);
        let heap = segment.attach_in_slot(1);
        let page = heap.raw.page_bytes() as usize;
        let (low, gap) = (heap.take(layout(page, 8), 1).unwrap(), heap.take(layout(9 * page, 8), 2).unwrap());
        let (block, high) =
            (heap.take(layout(3 * page, 8), 3).unwrap(), heap.take(layout(page, 8), 4).unwrap());
        assert_eq!(heap.expand_backward(block.offset, 4 * page, 5 * page), Err(3 * page), "nothing is free");
        heap.give(&gap);
        assert_eq!(heap.expand_backward(block.offset, 13 * page, 14 * page), Err(12 * page));
        heap.verify(&block);
        // As much as is preferred, and no more.
        let expanded = heap.expand_backward(block.offset, 3 * page + 1, 5 * page - 1).unwrap();
        assert_eq!((expanded.offset, expanded.usable), (block.offset - 2 * page as u64, 5 * page));
        heap.assert_accounted();
        let info = BlockInfo { offset: expanded.offset, size_bytes: 5 * page as u64 };
        for at in 0..5 {
            assert_eq!(heap.block_at(expanded.offset + at * page as u64 + 7), Some(info));
        }
        // The rest of what is there, from the system; and nothing if enough is there.
        heap.trim().unwrap();
        let expanded = heap.expand_backward(expanded.offset, 8 * page, 100 * page).unwrap();
        assert_eq!((expanded.offset, expanded.usable), (low.offset + page as u64, 12 * page));
        assert_eq!(heap.expand_backward(expanded.offset, page, 2 * page), Ok(expanded));
        [&low, &block, &high].into_iter().for_each(|block| heap.verify(block));
        // It grows and is freed as any other.
        let whole = Live { offset: expanded.offset, layout: layout(12 * page, 8), ..block };
        heap.give(&high);
        // SAFETY: live, with the layout it has.
        assert!(unsafe { heap.grow_in_place(heap.pointer(&whole), whole.layout, 13 * page) }.is_some());
        // SAFETY: likewise.
        unsafe { heap.deallocate(heap.pointer(&whole), layout(13 * page, 8)) };
        heap.give(&low);
        heap.assert_unused();
    }
}

#[test]
fn a_file_without_holes_keeps_its_memory() {
    let segment = Segment::new(1 << 20, 1 << 20, true);
    let heap = segment.attach_in_slot(1);
    let span = heap.take(layout(100_000, 8), 1).unwrap();
    let before = segment.file_blocks_bytes();
    segment.file.holes.store(NO_HOLES, Ordering::SeqCst);
    assert_eq!(heap.trim().unwrap(), 0);
    heap.assert_accounted();
    assert_eq!(heap.stats().committed_bytes, 1 << 20);
    // All free pages are on their list still.
    let calls = segment.file.calls.load(Ordering::SeqCst);
    let rest = heap.take(layout((1 << 20) - span.block as usize, 8), 2).unwrap();
    assert_eq!(segment.file.calls.load(Ordering::SeqCst), calls);
    heap.give(&rest);
    // The system fails: the pages are used again all the same, or given back another time.
    segment.file.holes.store(BAD_HOLES, Ordering::SeqCst);
    assert!(matches!(heap.trim(), Err(AllocError::Os { errno: 5 })));
    heap.assert_accounted();
    assert_eq!(heap.stats().committed_bytes, 1 << 20, "it may still be there");
    heap.give(&heap.take(layout((1 << 20) - span.block as usize, 8), 2).unwrap());
    assert!(heap.trim().is_err());
    segment.file.holes.store(HOLES, Ordering::SeqCst);
    assert_eq!(heap.trim().unwrap(), (1 << 20) - span.block);
    assert_eq!(segment.file_blocks_bytes(), before - ((1 << 20) - span.block));
    heap.give(&span);
    heap.assert_unused();
}

#[test]
fn memory_that_does_not_come_back_is_an_error() {
    let segment = Segment::new(1 << 20, 1 << 20, true);
    let heap = segment.attach_in_slot(1);
    let mut span = heap.take(layout(100_000, 8), 1).unwrap();
    let given = heap.trim().unwrap();
    let blocks = segment.file_blocks_bytes();
    segment.file.calls_left.store(0, Ordering::SeqCst);
    for size in [64, 5000, 500_000] {
        assert!(matches!(heap.allocate(layout(size, 8)), Err(FULL)), "{size}");
    }
    // SAFETY: live, with the layout it has.
    assert_eq!(unsafe { heap.grow_in_place(heap.pointer(&span), span.layout, 300_000) }, None);
    heap.assert_accounted();
    // What was had all the same is given back at once.
    assert_eq!(segment.file_blocks_bytes(), blocks);
    assert_eq!(heap.stats().committed_bytes, (1 << 20) - given);
    // What is free is used.
    assert!(heap.shrink(&mut span, 50_000));
    heap.give(&heap.take(layout(40_000, 8), 2).unwrap());
    // Little is to be had: no more than is needed is asked for.
    segment.file.calls_left.store(u64::MAX, Ordering::SeqCst);
    segment.file.limit.store(span.offset + 110_000 / OS_PAGE * OS_PAGE, Ordering::SeqCst);
    let block = heap.take(layout(52_000, 8), 3).unwrap();
    assert!(matches!(heap.allocate(layout(500_000, 8)), Err(FULL)));
    heap.assert_accounted();
    segment.file.limit.store(u64::MAX, Ordering::SeqCst);
    heap.give(&heap.take(layout(given as usize / 2, 8), 4).unwrap());
    heap.give(&block);
    heap.give(&span);
    heap.assert_unused();
}

#[test]
fn a_kept_page_is_never_given_back() {
    let segment = Segment::new(1 << 20, 1 << 20, true);
    let heap = segment.attach();
    let name = heap.take(layout(64, 1), 1).unwrap();
    heap.keep(heap.pointer(&name));
    heap.give(&name);
    assert_eq!(heap.trim().unwrap(), (1 << 20) - 4096);
    // SAFETY: its memory stays (and is poisoned, where that is watched).
    assert!(cfg!(shmem_poison) || unsafe { heap.pointer(&name).read() } == 1);
    assert_eq!(heap.stats().committed_bytes, 4096);
    // Peeking at bytes that are gone does not bring them back.
    let before = segment.file_blocks_bytes();
    let mut bytes = [7; 16];
    assert!(heap.peek(heap.raw.page_at(20), &mut bytes));
    assert_eq!((bytes, segment.file_blocks_bytes()), ([0; 16], before));
    heap.give(&heap.take(layout(1 << 20, 8), 1).unwrap());
    heap.assert_unused();
}

#[test]
fn memory_is_given_back_while_others_work() {
    for (max, capacity) in [(1 << 20, 1 << 20), (8 << 20, 4 << 20)] {
        let segment = Segment::new(max, capacity, false);
        let (one, two) = (segment.attach(), segment.attach());
        let stop = AtomicBool::new(false);
        let given = std::thread::scope(|scope| {
            let trimmer = scope.spawn(|| {
                let mut given = 0;
                while !stop.load(Ordering::SeqCst) {
                    given += two.trim().unwrap();
                }
                given
            });
            churn(&[&one, &one, &two], 12 * capacity, capacity / 6, 21);
            stop.store(true, Ordering::SeqCst);
            trimmer.join().unwrap()
        });
        assert!(given > 0);
        one.assert_unused();
        one.trim().unwrap();
        assert_eq!(two.stats().committed_bytes, 0);
        let whole = one.take(layout(capacity as usize, 8), 1).unwrap();
        two.give(&whole);
    }
}

#[test]
fn a_check_while_memory_grows_finds_nothing() {
    for _ in 0..20 {
        let segment = Segment::new(256 << 20, 1 << 20, false);
        let (one, two) = (segment.attach_in_slot(1), segment.attach());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let checker = scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(two.check(), []);
                }
            });
            let mut span = one.take(layout(100_000, 8), 1).unwrap();
            for capacity in 1..=48u64 {
                one.mapping.capacity().store(capacity << 20, Ordering::SeqCst);
                let wanted = (capacity as usize - 1) << 20;
                // SAFETY: live, with the layout it has.
                if let Some(usable) = unsafe { one.grow_in_place(one.pointer(&span), span.layout, wanted) } {
                    span.layout = layout(usable, 8);
                }
            }
            assert!(span.layout.size() >= 40 << 20, "it has grown where it stands");
            stop.store(true, Ordering::SeqCst);
            checker.join().unwrap();
            // SAFETY: live, with the layout it has.
            unsafe { one.deallocate(one.pointer(&span), span.layout) };
        });
        one.assert_unused();
    }
}

// ---- deaths --------------------------------------------------------------------------------------------

/// Something that changes several pages.
struct Deed {
    name: &'static str,
    arrange: fn(&Process) -> Vec<Live>,
    act: fn(&Process, &[Live]),
    /// What may come into being that nobody knows of: pages.
    unknown: u64,
}

const PAGE: usize = 4096;

fn spans(heap: &Process, pages: &[usize]) -> Vec<Live> {
    pages.iter().map(|n| heap.take(layout(n * PAGE, 8), *n as u8).unwrap()).collect()
}

const DEEDS: &[Deed] = &[
    Deed {
        name: "allocate",
        arrange: |heap| spans(heap, &[2, 1]),
        act: |heap, _| assert!(heap.allocate(layout(5 * PAGE, 8)).is_ok()),
        unknown: 5,
    },
    Deed {
        name: "free",
        arrange: |heap| spans(heap, &[2, 5, 1]),
        // SAFETY: live; the layout it was asked with.
        act: |heap, live| unsafe { heap.deallocate(heap.pointer(&live[1]), live[1].layout) },
        unknown: 0,
    },
    Deed {
        name: "grow",
        arrange: |heap| spans(heap, &[1, 2]),
        // SAFETY: live; the layout it was asked with.
        act: |heap, live| unsafe {
            heap.grow_in_place(heap.pointer(&live[1]), live[1].layout, 6 * PAGE).unwrap();
        },
        unknown: 0,
    },
    Deed {
        name: "grow in vain",
        arrange: |heap| {
            let mut live = spans(heap, &[1, 2, 3, 1]);
            heap.give(&live.remove(2));
            live
        },
        // SAFETY: live; the layout it was asked with.
        act: |heap, live| unsafe {
            // Not looked at first, or it would not begin.
            let (first, head) = heap.raw.span_at(live[1].offset).unwrap();
            assert!(!heap.raw.extend_run(heap.own_slot(), first, head, 6));
            heap.pointer(&live[1]).read();
        },
        unknown: 0,
    },
    Deed {
        name: "shrink",
        arrange: |heap| spans(heap, &[1, 6, 1]),
        act: |heap, live| assert!(heap.shrink(&mut live[1].clone(), 2 * PAGE)),
        unknown: 0,
    },
    Deed {
        name: "shrink by a page",
        arrange: |heap| spans(heap, &[1, 2, 1]),
        act: |heap, live| assert!(heap.shrink(&mut live[1].clone(), PAGE)),
        unknown: 0,
    },
    Deed {
        name: "expand backward",
        arrange: |heap| {
            let mut live = spans(heap, &[1, 4, 3, 1]);
            heap.give(&live.remove(1));
            live
        },
        act: |heap, live| assert!(heap.expand_backward(live[1].offset, 6 * PAGE, 7 * PAGE).is_ok()),
        unknown: 6,
    },
    Deed {
        name: "expand backward a raw span",
        arrange: |heap| {
            let mut live = spans(heap, &[2, 4]);
            live.push(heap.take_raw(layout(3 * PAGE, 8), 3).unwrap());
            live.extend(spans(heap, &[1]));
            heap.give(&live.remove(1));
            live
        },
        act: |heap, live| assert!(heap.expand_backward(live[1].offset, 6 * PAGE, 7 * PAGE).is_ok()),
        unknown: 6,
    },
    Deed {
        name: "expand backward a span of a page",
        arrange: |heap| {
            let mut live = spans(heap, &[1, 1, 1, 1]);
            heap.give(&live.remove(1));
            heap.trim().unwrap();
            live
        },
        act: |heap, live| assert!(heap.expand_backward(live[1].offset, PAGE, 3 * PAGE).is_ok()),
        unknown: 2,
    },
    Deed {
        name: "trim",
        arrange: |heap| {
            let mut live = spans(heap, &[2, 3, 1, 1, 1]);
            heap.give(&live.remove(3));
            heap.give(&live.remove(1));
            live
        },
        act: |heap, _| assert!(heap.trim().unwrap() > 4 * PAGE as u64),
        unknown: 0,
    },
    Deed {
        name: "allocate what was given back",
        arrange: |heap| {
            let live = spans(heap, &[2, 3, 4]);
            heap.give(&live[1]);
            heap.trim().unwrap();
            vec![live[0], live[2]]
        },
        act: |heap, _| assert!(heap.allocate(layout(7 * PAGE, 8)).is_ok()),
        unknown: 7,
    },
    Deed {
        name: "a small block of what was given back",
        arrange: |heap| {
            heap.trim().unwrap();
            Vec::new()
        },
        act: |heap, _| assert!(heap.allocate(layout(20, 8)).is_ok()),
        unknown: 1,
    },
    Deed {
        name: "grow into what was given back",
        arrange: |heap| {
            let live = spans(heap, &[1, 2]);
            heap.trim().unwrap();
            live
        },
        // SAFETY: live; the layout it was asked with.
        act: |heap, live| unsafe {
            heap.grow_in_place(heap.pointer(&live[1]), live[1].layout, 6 * PAGE).unwrap();
        },
        unknown: 0,
    },
];

struct Killed;

/// Runs `act` until it comes to its `nth` crash point; whether it did.
fn dies_at(nth: u64, act: impl FnOnce()) -> bool {
    crash::arm_thread_anywhere(nth, || resume_unwind(Box::new(Killed)));
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(()) => {
            assert!(crash::disarm_thread());
            false
        }
        Err(cause) if cause.is::<Killed>() => true,
        Err(cause) => resume_unwind(cause),
    }
}

/// After each death, and after the death of who makes it good, all pages are accounted for.
#[test]
#[cfg_attr(shmem_poison, ignore = "the dead have poisoned what they did not come to free")]
fn a_death_after_any_store_costs_no_page() {
    for deed in DEEDS {
        let mut deaths = 0;
        'deaths: for nth in 1.. {
            // The recoverer dies, too, at its `again`th point; at last, one comes through.
            for again in 1.. {
                let segment = Segment::new(64 << 10, 64 << 10, true);
                let (dead, heap) = (segment.attach_in_slot(DEAD), segment.attach_in_slot(4));
                let live = (deed.arrange)(&heap);
                let (before, raw) = (heap.live(), heap.stats().raw_blocks);
                let died = dies_at(nth, || (deed.act)(&dead, &live));
                let what = format!("{}, killed at its point {nth}, {again}", deed.name);
                if !died {
                    heap.assert_accounted();
                    assert!(nth > 3, "{what}: there are points");
                    break 'deaths;
                }
                assert_eq!(heap.check(), [], "{what}");
                let interrupted = dies_at(again, || heap.settle(DEAD));
                heap.settle(DEAD);
                segment.erase_intent(&heap, DEAD);
                deaths += 1;

                assert_eq!(heap.raw.check(true), [], "{what}");
                heap.assert_accounted();
                let after = heap.live();
                assert_eq!(heap.stats().raw_blocks, raw, "{what}");
                for block in &before {
                    // What was there is there, longer or shorter, unless it was to be freed.
                    let end = block.offset + block.size_bytes;
                    let holds = |other: &BlockInfo| {
                        other.offset == block.offset
                            || other.offset < block.offset && other.offset + other.size_bytes == end
                    };
                    let kept = after.iter().any(holds);
                    assert!(kept || deed.name == "free", "{what}");
                }
                assert!(after.len() <= before.len() + usize::from(deed.unknown > 0), "{what}");
                for live in &live {
                    let Some(now) = heap.block_at(live.offset) else { continue };
                    let usable = live.usable.min((now.offset + now.size_bytes - live.offset) as usize);
                    heap.verify(&Live { usable, ..*live });
                }
                let unknown: u64 = after
                    .iter()
                    .filter(|b| !before.iter().any(|o| o.offset == b.offset))
                    .map(|b| b.size_bytes)
                    .sum();
                assert!(unknown <= (deed.unknown + 1) * PAGE as u64, "{what}");
                // Everything can be had: no page is lost, and none is free without memory.
                heap.free_all();
                heap.assert_unused();
                heap.trim().unwrap();
                assert_eq!(heap.stats().committed_bytes, 0, "{what}");
                heap.give(&heap.take(layout(64 << 10, 8), 5).unwrap());
                heap.assert_unused();
                if !interrupted {
                    break;
                }
            }
        }
        assert!(deaths > 3, "{}", deed.name);
    }
}

#[test]
fn a_thread_without_a_slot_costs_the_pages_in_hand() {
    let segment = Segment::new(64 << 10, 64 << 10, true);
    let heap = segment.attach();
    let live = spans(&heap, &[1, 1]);
    heap.give(&live[0]);
    let refused = heap.expand_backward(live[1].offset, 2 * PAGE, 2 * PAGE);
    assert_eq!(refused, Err(PAGE), "it could cost a live block");
    for deed in DEEDS.iter().filter(|deed| !deed.name.starts_with("expand backward")) {
        for nth in 1.. {
            let segment = Segment::new(64 << 10, 64 << 10, true);
            let (dead, heap) = (segment.attach(), segment.attach_in_slot(4));
            let live = (deed.arrange)(&heap);
            if !dies_at(nth, || (deed.act)(&dead, &live)) {
                break;
            }
            assert_eq!(heap.check(), [], "{} {nth}", deed.name);
            heap.free_all();
            assert_eq!(heap.check(), [], "{} {nth}", deed.name);
            let lost = heap.stats().used_bytes;
            assert!(lost <= 8 * PAGE as u64 || deed.name == "trim", "{} {nth}: {lost}", deed.name);
            assert_eq!(heap.stats().bad_frees, 0);
        }
    }
}

/// Somebody frees a raw block before it is settled what a dead process was doing to it.
#[test]
fn a_join_is_undone_when_its_span_is_gone() {
    for nth in 1.. {
        let segment = Segment::new(64 << 10, 64 << 10, true);
        let (dead, heap) = (segment.attach_in_slot(DEAD), segment.attach_in_slot(4));
        let mut live = spans(&heap, &[4]);
        let raw = heap.take_raw(layout(4 * PAGE, 8), 3).unwrap();
        heap.give(&live.remove(0));
        if !dies_at(nth, || assert!(dead.expand_backward(raw.offset, 8 * PAGE, 8 * PAGE).is_ok())) {
            assert!(nth > 8);
            break;
        }
        // SAFETY: live, if it is there still; else it is refused.
        unsafe { heap.free_raw(heap.pointer(&raw), raw.layout) };
        let mut taken = std::collections::BTreeSet::new();
        let mut take_all = |what: &str| {
            while let Ok(block) = heap.allocate(layout(16, 8)) {
                assert!(taken.insert(heap.offset_of(block.cast())), "{nth}: {what}");
            }
        };
        take_all("before it is settled");
        heap.settle(DEAD);
        segment.erase_intent(&heap, DEAD);
        assert_eq!(heap.check(), [], "{nth}");
        take_all("a live block is handed out again");
        let mut live = 0;
        heap.for_each_live_block(&mut |block| live += u64::from(block.size_bytes == 16));
        assert_eq!(live, taken.len() as u64, "{nth}");
    }
}

#[test]
fn what_a_dead_process_was_giving_back_is_overwritten_too() {
    for nth in 1.. {
        let segment = Segment::new(64 << 10, 64 << 10, true);
        let (dead, heap) = (segment.attach_in_slot(DEAD), segment.attach_in_slot(4));
        let live = spans(&heap, &[4]);
        heap.give(&live[0]);
        if !dies_at(nth, || assert!(dead.trim().unwrap() > 0)) {
            break;
        }
        heap.settle(DEAD);
        segment.erase_intent(&heap, DEAD);
        heap.zero_free();
        let mut bytes = vec![1; 4 * PAGE];
        assert!(heap.peek(live[0].offset, &mut bytes));
        assert!(bytes.iter().all(|byte| *byte == 0), "{nth}");
    }
}

#[test]
fn damaged_intents_cause_no_harm() {
    let mut random = Random(9);
    for round in 0..2000u64 {
        let segment = Segment::new(64 << 10, 64 << 10, true);
        let heap = segment.attach_in_slot(4);
        let live = spans(&heap, &[2, 3, 4]);
        let at = segment.header.slots_at + u64::from(DEAD) * 128 + 24;
        let intent = match round % 2 {
            0 => random.next(),
            // One that could be.
            _ => (1 + random.below(3)) | (random.below(16) << 4) | (random.below(17) << 32),
        };
        // SAFETY: in the slot table, which is committed; an aligned atomic.
        unsafe { &*heap.raw.at(at).cast::<AtomicU64>() }.store(intent, Ordering::SeqCst);
        heap.settle(DEAD);
        // No page says that the slot claimed it: nothing happens.
        live.iter().for_each(|block| heap.give(block));
        heap.assert_unused();
    }
}
