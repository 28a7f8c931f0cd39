//! What threads have at hand, whole pages, and leaks. Nothing but the blocks in hand may be lost, and once the dead are
//! recovered no page is.

use super::super::{BOUND, Check, Death, Effect, Operation, Scene, region};
use super::{PLAIN, found};
use shmem_core::{BlockHandle, HeapStats, Segment, ShmMutex, ShmVec};
use std::alloc::Layout;
use std::collections::HashSet;
use std::ptr::NonNull;

/// All of them.
pub const ALL: &[Operation] = &[
    Operation { name: "refill", child: refill, arrange: |scene| arrange(scene, 1, AT_HAND), ..LARGE },
    Operation { name: "flush", child: flush, arrange: |scene| arrange(scene, -1, AT_HAND), ..LARGE },
    Operation { name: "expand", build: Some(one_span), child: expand, arrange: arrange_expand, ..PLAIN },
    Operation { name: "shrink", build: Some(long_list), child: shrink, arrange: arrange_shrink, ..PLAIN },
    Operation {
        name: "allocate-trimmed",
        build: Some(trimmed),
        child: allocate_span,
        arrange: |scene| arrange(scene, 1, SPAN.size() as u64),
        ..PLAIN
    },
    Operation { name: "borrow", build: Some(full), child: borrow_again, arrange: arrange_borrow, ..PLAIN },
    Operation { name: "zero-free-memory", child: zero, arrange: |scene| arrange(scene, 0, 4096), ..PLAIN },
];

/// Those that have so many instructions that even a sample takes half a minute.
pub const LONG_ONES: &[Operation] = &[
    Operation { name: "detach-with-cache", child: detach, arrange: arrange_detach, ..LARGE },
    Operation { name: "borrow-first", build: Some(full), child: borrow, arrange: arrange_borrow, ..PLAIN },
    Operation { name: "trim", build: Some(free_pages), child: trim, arrange: arrange_trim, ..PLAIN },
    Operation {
        name: "recover-leaks",
        build: Some(leaks),
        child: recover_leaks,
        arrange: arrange_leaks,
        ..PLAIN
    },
];

/// A segment whose threads have caches.
const LARGE: Operation = Operation { bytes: 64 << 20, ..PLAIN };

const BLOCK: Layout = Layout::new::<[u64; 8]>();
const SPAN: Layout = Layout::new::<[u64; 16 << 10]>();

/// A magazine holds no more than so many blocks.
const MOST: u64 = 22;
/// What a death in filling or emptying a magazine may cost: the blocks of one bitmap word, as many as a magazine holds.
const AT_HAND: u64 = MOST * BLOCK.size() as u64;

#[track_caller]
fn take(segment: &Segment, layout: Layout) -> NonNull<u8> {
    segment.allocate(layout).expect("there is room").cast()
}

fn give(segment: &Segment, block: NonNull<u8>, layout: Layout) {
    // SAFETY: allocated with this layout, here; nobody uses it.
    unsafe { segment.deallocate(block, layout) }
}

/// How many blocks threads have at hand.
fn at_hand(segment: &Segment) -> u64 {
    segment.memory().classes.iter().find(|class| class.block_bytes == 64).map_or(0, |class| class.cached)
}

/// Has this thread get a cache; gives how many blocks a magazine holds at most.
fn get_cache(segment: &Segment) -> u64 {
    while at_hand(segment) == 0 {
        (0..100).for_each(|_| give(segment, take(segment, BLOCK), BLOCK));
    }
    let blocks: Vec<_> = (0..MOST).map(|_| take(segment, BLOCK)).collect();
    let after_each = blocks.into_iter().map(|block| {
        give(segment, block, BLOCK);
        at_hand(segment)
    });
    after_each.max().expect("there are blocks")
}

fn refill(scene: &Scene) {
    let segment = scene.open();
    get_cache(&segment);
    for _ in 0..at_hand(&segment) {
        take(&segment, BLOCK);
    }
    assert_eq!(at_hand(&segment), 0);
    region(|| segment.allocate(BLOCK))
}

fn flush(scene: &Scene) {
    let segment = scene.open();
    let most = get_cache(&segment);
    let mut blocks: Vec<_> = (0..2 * MOST).map(|_| take(&segment, BLOCK)).collect();
    while at_hand(&segment) < most {
        give(&segment, blocks.pop().expect("a magazine holds fewer"), BLOCK);
    }
    region(|| give(&segment, blocks[0], BLOCK))
}

fn detach(scene: &Scene) {
    let segment = scene.open();
    get_cache(&segment);
    region(|| drop(segment))
}

/// Takes every page there is, and every block of 64 bytes, but not all larger ones.
fn full(segment: &Segment) {
    let large = Layout::from_size_align(LENT, 8).expect("a layout");
    let blocks: Vec<_> = (0..10).map(|_| take(segment, large)).collect();
    for pages in [64, 8, 1] {
        let span = Layout::from_size_align(pages << 12, 8).expect("a layout");
        while segment.allocate(span).is_ok() {}
    }
    blocks.into_iter().step_by(2).for_each(|block| give(segment, block, large));
    // The last one is borrowed, if none of a size between is left.
    while segment.usable_size(take(segment, BLOCK)).is_some_and(|usable| usable < LENT) {}
}

/// Larger blocks, two a page.
const LENT: usize = 2048;

fn borrow(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.allocate(BLOCK))
}

fn borrow_again(scene: &Scene) {
    let segment = scene.open();
    take(&segment, BLOCK);
    region(|| segment.allocate(BLOCK))
}

fn arrange_borrow(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let before = segment.memory();
    let earlier_ones: HashSet<_> = segment.raw_blocks().into_iter().map(|(handle, _)| handle).collect();
    Box::new(move |death: &Death| {
        segment.recover();
        let after = segment.memory();
        let lost = nobodys(&after) - nobodys(&before);
        assert!(lost == 0 || lost == LENT as u64 && !death.finished, "{lost} bytes are lost\n{after}");
        // Whoever has a block of a page that lends gives it back as what it was asked for.
        for (handle, usable) in segment.raw_blocks() {
            let own = Layout::from_size_align(usable, 8).expect("a layout");
            let layout = if earlier_ones.contains(&handle) { own } else { BLOCK };
            give(&segment, segment.address_of(handle).expect("it stands there"), layout);
        }
        let memory = segment.memory();
        assert_eq!((memory.raw_blocks, memory.bad_frees), (0, 0), "{memory}");
        assert_eq!(nobodys(&memory), nobodys(&after));
        give(&segment, take(&segment, SPAN), SPAN);
        match after.raw_blocks - before.raw_blocks {
            0 => Effect::Nothing,
            more => {
                assert_eq!(more, 1);
                Effect::Whole
            }
        }
    })
}

fn nobodys(stats: &HeapStats) -> u64 {
    stats.used_bytes - stats.raw_bytes
}

/// Checks that no block is handed out twice, and gives all back.
#[track_caller]
fn all_differ(segment: &Segment) {
    let raw: HashSet<_> = segment.raw_blocks().into_iter().map(|(handle, _)| handle).collect();
    let blocks: Vec<_> = (0..300).map(|_| take(segment, BLOCK)).collect();
    let handles: HashSet<_> = blocks.iter().filter_map(|block| segment.handle_of(block.as_ptr())).collect();
    assert_eq!((handles.len(), handles.intersection(&raw).count()), (300, 0));
    blocks.into_iter().for_each(|block| give(segment, block, BLOCK));
}

/// So many raw blocks more, and at most so many bytes that are nobody's. What the child had before the mark is raw.
fn arrange(scene: &Scene, change: i64, loss: u64) -> Check {
    let segment = scene.segment().clone();
    let before = segment.memory();
    Box::new(move |death: &Death| {
        all_differ(&segment);
        segment.recover();
        let after = segment.memory();
        assert_eq!((after.cached_bytes > 0, after.claimed_pages), (after.page_bytes > 4096, 0), "{after}");
        let lost = nobodys(&after) - nobodys(&before);
        assert!(lost <= loss, "{lost} bytes are lost\n{after}");
        assert!(lost == 0 || !death.finished && death.after > 0);
        assert_eq!(after.bad_frees, 0);
        let found = after.raw_blocks as i64 - before.raw_blocks as i64;
        if change == 0 {
            return Effect::Unseen;
        }
        assert!(found == 0 || found == change, "{found} raw blocks more");
        if found == change { Effect::Whole } else { Effect::Nothing }
    })
}

fn arrange_detach(scene: &Scene) -> Check {
    let check = arrange(scene, 0, AT_HAND);
    Box::new(move |death| {
        check(death);
        Effect::Unseen
    })
}

/// A block of whole pages with free pages behind it, and where it is.
fn one_span(segment: &Segment) {
    let (block, behind) = (take(segment, SPAN), take(segment, SPAN));
    let handle = segment.handle_of(block.as_ptr()).expect("it stands there");
    drop(segment.construct::<BlockHandle>("span", handle).expect("the name is free"));
    give(segment, behind, SPAN);
}

#[track_caller]
fn span(segment: &Segment) -> NonNull<u8> {
    segment.address_of(*found::<BlockHandle>(segment, "span")).expect("it stands there")
}

fn expand(scene: &Scene) {
    let segment = scene.open();
    let block = span(&segment);
    // SAFETY: live, as it was allocated.
    region(|| unsafe { segment.try_expand(block, SPAN, 2 * SPAN.size(), 2 * SPAN.size()) })
}

/// Nothing that was done to pages is left undone, once the dead are recovered.
#[track_caller]
fn no_page_is_lost(segment: &Segment, nobodys_before: u64) {
    // There is room, whoever has what in hand.
    give(segment, take(segment, SPAN), SPAN);
    segment.recover();
    let memory = segment.memory();
    assert_eq!(
        (nobodys(&memory), memory.claimed_pages, memory.bad_frees),
        (nobodys_before, 0, 0),
        "{memory}"
    );
}

fn arrange_expand(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let before = nobodys(&segment.memory());
    Box::new(move |_| {
        no_page_is_lost(&segment, before);
        match segment.usable_size(span(&segment)).expect("it is live") {
            usable if usable >= 2 * SPAN.size() => Effect::Whole,
            usable => {
                assert_eq!(usable, SPAN.size());
                Effect::Nothing
            }
        }
    })
}

type List = ShmMutex<ShmVec<u64>>;

const LONG: usize = 40_000;
const SHORT: usize = 9000;

/// A list with far too much room.
fn long_list(segment: &Segment) {
    let list = segment.construct::<List>("list", ShmMutex::new(ShmVec::new())).expect("a list");
    let mut guard = list.lock().expect("it is free");
    let mut view = guard.view();
    view.reserve_exact(LONG).expect("there is room");
    view.extend(0..SHORT as u64).expect("there is room");
}

fn shrink(scene: &Scene) {
    let list = found::<List>(&scene.open(), "list");
    let mut guard = list.lock().expect("it is free");
    let mut view = guard.view();
    region(|| view.shrink_to_fit())
}

fn arrange_shrink(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let list = found::<List>(&segment, "list");
    let used = segment.used();
    Box::new(move |death| {
        assert!(list.lock_timeout(BOUND).is_err(), "its holder died");
        let mut guard = list.lock_poisoned().expect("the value is sound");
        assert!(guard.iter().copied().eq(0..SHORT as u64));
        give(&segment, take(&segment, SPAN), SPAN);
        segment.recover();
        let (now, room) = (segment.used(), guard.view().capacity());
        guard.clear_poison();
        if room >= LONG {
            assert_eq!(now, used);
            return Effect::Nothing;
        }
        // The list says so before the pages behind it go: all of them, or none.
        let cut = used - now;
        assert!(cut == 0 || cut > (LONG - SHORT) as u64 * 8 - 8192, "{used}, {now}");
        assert!((SHORT..SHORT + 1024).contains(&room) && (cut > 0 || !death.finished));
        Effect::Whole
    })
}

/// Some pages that are free and have memory, before and behind a block.
fn free_pages(segment: &Segment) {
    let before = take(segment, SPAN);
    one_span(segment);
    give(segment, before, SPAN);
}

fn trimmed(segment: &Segment) {
    free_pages(segment);
    assert!(segment.trim().expect("the system takes it") > 0);
}

fn trim(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.trim())
}

fn arrange_trim(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    let before = segment.memory();
    Box::new(move |death| {
        segment.recover();
        let given = before.committed_bytes - segment.memory().committed_bytes;
        assert!(!death.finished || given >= 2 * SPAN.size() as u64, "{given} bytes were given back");
        no_page_is_lost(&segment, nobodys(&before));
        // SAFETY: a live block; all of its bytes may be read.
        let bytes = unsafe { std::slice::from_raw_parts(span(&segment).as_ptr(), SPAN.size()) };
        assert!(bytes.iter().all(|byte| *byte == 0), "fresh memory is zero, and nobody wrote to it");
        Effect::Unseen
    })
}

fn allocate_span(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.allocate(SPAN))
}

fn zero(scene: &Scene) {
    let segment = scene.open();
    region(|| segment.zero_free_memory())
}

/// Blocks of several sizes that nothing leads to, some that something does, and how much is in use without leaks.
fn leaks(segment: &Segment) {
    one_span(segment);
    long_list(segment);
    let clean = segment.construct::<ShmMutex<u64>>("clean", ShmMutex::new(0)).expect("the name is free");
    *clean.lock().expect("it is free") = segment.used();
    for size in [16, 64, 64, 1000, 20_000, 50_000] {
        let layout = Layout::from_size_align(size, 8).expect("a layout");
        segment.access().allocate(layout).expect("there is room");
    }
    give(segment, take(segment, SPAN), SPAN);
}

fn recover_leaks(scene: &Scene) {
    let mut segment = scene.open();
    region(|| segment.recover_leaks().expect("nobody is in the way"))
}

/// The tester attaches to the segment only when the child is dead.
fn arrange_leaks(scene: &Scene) -> Check {
    let segment = scene.segment().clone();
    Box::new(move |death| {
        let used = segment.used();
        // SAFETY: 1: nobody else is at work, and nothing is borrowed. 2: what the builder leaked nobody uses.
        let report = unsafe { segment.recover_leaks_unchecked() }.expect("nobody is in the way");
        let clean = *found::<ShmMutex<u64>>(&segment, "clean").lock().expect("it is free");
        assert_eq!(segment.used(), clean, "{report}");
        assert!(used >= clean && (!death.finished || used == clean));
        assert!(
            found::<List>(&segment, "list").lock().expect("it is free").iter().copied().eq(0..SHORT as u64)
        );
        assert_eq!(segment.usable_size(span(&segment)), Some(SPAN.size()));
        Effect::Unseen
    })
}
