//! Deaths in the middle of large blocks, and what who comes next finds.

use super::abandon::{killed, killed_at};
use super::tests::segment;
use super::*;
use crate::ShmMutex;
use std::alloc::Layout;
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// A segment of 62 heap pages and a few.
fn small() -> Segment {
    let s = Segment::anonymous().size(256 << 10).max_size(256 << 10).create().unwrap();
    attach(&s);
    s
}

/// Has this thread get a slot.
fn attach(s: &Segment) {
    drop(s.find_or_construct::<ShmMutex<u64>>("lock", ShmMutex::new(0)).unwrap().lock().unwrap());
}

fn pages(n: usize) -> Layout {
    Layout::from_size_align(n * PAGE, 8).unwrap()
}

fn take(s: &Segment, n: usize) -> NonNull<u8> {
    s.access().allocate(pages(n)).unwrap().cast()
}

fn give(s: &Segment, block: NonNull<u8>, n: usize) {
    // SAFETY: a live block of that size.
    unsafe { s.access().deallocate(block, pages(n)) };
}

#[track_caller]
fn accounted(s: &Segment) {
    assert_eq!(s.inner.heap.check_strictly(), []);
    let mut live = 0;
    s.inner.heap.for_each_live_block(&mut |block| live += block.size_bytes);
    assert_eq!(s.used(), live);
}

/// Everything that works on whole pages, with the number of pages that a death may leave allocated.
fn deeds(s: &Segment) {
    let access = s.access();
    let (one, two) = (take(s, 4), take(s, 5));
    give(s, one, 4);
    // SAFETY: live blocks, with the layouts they have; what is cut off is not used.
    unsafe {
        // What a dead one left may be in the way.
        let n = access.grow_in_place(two, pages(5), 9 * PAGE).map_or(5, |_| 9);
        access.shrink_in_place(two, pages(n), 3 * PAGE, |_| {}).unwrap();
    }
    s.trim().unwrap();
    give(s, take(s, 12), 12);
    give(s, two, 3);
}

#[test]
fn a_death_at_any_point_of_the_heap_costs_no_page() {
    let points = crate::crash::POINTS.iter().copied().filter(|point| {
        let area = point.split('.').next().unwrap();
        ["intent", "span", "resize", "punch", "recommit"].contains(&area) && *point != "span.dropped"
    });
    let mut tried = 0;
    for point in points {
        for nth in 1..=3 {
            if nth > 1
                && ["resize.claimed", "resize.longer", "resize.cut", "resize.shorter", "resize.free"]
                    .contains(&point)
            {
                continue;
            }
            let s = small();
            killed_at(&s, point, nth, |s| {
                attach(&s);
                (0..3).for_each(|_| deeds(&s));
                unreachable!("not at this point");
            });
            tried += 1;
            assert_eq!(s.check(), [], "{point} {nth}");
            s.recover();
            accounted(&s);
            assert!(s.used() <= 40 * PAGE as u64, "{point} {nth}");
            deeds(&s);
            accounted(&s);
        }
    }
    assert!(tried > 30);
}

#[test]
fn a_raw_block_that_a_dead_one_was_expanding_is_there_and_can_be_freed() {
    for point in crate::crash::POINTS.iter().filter(|p| p.starts_with("join.") && **p != "join.parted") {
        let s = small();
        let (before, block) = (s.allocate(pages(4)).unwrap(), s.allocate(pages(4)).unwrap());
        // SAFETY: as it was allocated.
        unsafe { s.deallocate(before.cast(), pages(4)) };
        let handle = s.handle_of(block.cast::<u8>().as_ptr()).unwrap();
        killed_at(&s, point, 1, move |s| {
            let block = s.address_of(handle).unwrap();
            // SAFETY: live, with this layout.
            let _ = unsafe { s.try_expand_backward(block, pages(4), 8 * PAGE, 8 * PAGE) };
            unreachable!("not at this point");
        });
        // Nobody has recovered anybody.
        let raw = s.raw_blocks();
        let [(at, usable)] = raw[..] else { panic!("{point}: {raw:?}") };
        let is_longer = at != handle;
        assert_eq!(usable, if is_longer { 8 * PAGE } else { 4 * PAGE }, "{point}");
        // SAFETY: live, and nobody's any more.
        unsafe { s.deallocate(s.address_of(at).unwrap(), pages(usable / PAGE)) };
        assert_eq!((s.raw_blocks().len(), s.memory().bad_frees), (0, 0), "{point}");
        s.recover();
        accounted(&s);
    }
}

#[test]
fn who_has_a_raw_block_of_a_dead_one_finds_what_was_done_to_it_settled() {
    for point in crate::crash::POINTS.iter().filter(|p| p.starts_with("join.") && **p != "join.parted") {
        for frees in [true, false] {
            let s = small();
            let (before, block) = (s.allocate(pages(4)).unwrap(), s.allocate(pages(4)).unwrap().cast::<u8>());
            // SAFETY: as it was allocated.
            unsafe { s.deallocate(before.cast(), pages(4)) };
            let handle = s.handle_of(block.as_ptr()).unwrap();
            killed_at(&s, point, 1, move |s| {
                let block = s.address_of(handle).unwrap();
                // SAFETY: live, with this layout.
                let _ = unsafe { s.try_expand_backward(block, pages(4), 8 * PAGE, 8 * PAGE) };
                unreachable!("not at this point");
            });
            // By what is known of it, which may be no longer true.
            let was_decided = ["join.joined", "join.unmarked"].contains(point);
            // SAFETY: if it still begins there, live, with this layout, and nobody's; else that is found out.
            unsafe {
                match frees {
                    true => s.deallocate(block, pages(4)),
                    false => assert_eq!(
                        s.try_expand(block, pages(4), 6 * PAGE, 6 * PAGE).is_err(),
                        was_decided,
                        "{point}"
                    ),
                }
            }
            assert_eq!(s.memory().bad_frees, u64::from(frees && was_decided), "{point}");
            s.recover();
            accounted(&s);
            let left: Vec<usize> = s.raw_blocks().into_iter().map(|(_, usable)| usable / PAGE).collect();
            let wanted = if was_decided {
                vec![8]
            } else if frees {
                vec![]
            } else {
                vec![6]
            };
            assert_eq!(left, wanted, "{point}");
        }
    }
}

#[test]
fn who_is_short_of_memory_has_the_dead_settled() {
    for point in ["span.body", "span.unbody", "recommit.committed", "punch.punched"] {
        let s = small();
        let large = 50;
        if point == "recommit.committed" {
            give(&s, take(&s, large), large);
            s.trim().unwrap();
        }
        killed_at(&s, point, 1, move |s| {
            attach(&s);
            give(&s, take(&s, large), large);
            s.trim().unwrap();
            unreachable!("not at this point");
        });
        // Nobody has recovered anybody.
        assert!(s.attached_pids().len() >= 2);
        give(&s, take(&s, large), large);
        assert!(s.attached_pids().len() >= 2, "the rest of the dead one's recovery is left to others");
        accounted(&s);
        s.recover();
        accounted(&s);
    }
}

#[test]
fn a_list_whose_owner_died_growing_and_shrinking_it_is_whole() {
    type List = ShmMutex<crate::ShmVec<u64>>;
    for point in
        ["resize.claimed", "span.body", "resize.longer", "resize.cut", "resize.shorter", "span.unbody"]
    {
        let s = segment();
        let list = s.construct::<List>("list", ShmMutex::new(crate::ShmVec::new())).unwrap();
        list.lock().unwrap().view().extend(0..50_000).unwrap();
        killed_at(&s, point, 1, |s| {
            let list = s.find::<List>("list").unwrap().unwrap();
            let mut guard = list.lock().unwrap();
            let mut view = guard.view();
            let room = view.capacity();
            view.reserve_exact(room + 100_000).unwrap();
            view.shrink_to_fit().unwrap();
            unreachable!("not at this point");
        });
        let mut guard = list.lock_poisoned().unwrap();
        assert!(guard.iter().copied().eq(0..50_000), "{point}");
        let mut view = guard.view();
        view.extend(50_000..200_000).unwrap();
        view.truncate(50_000);
        view.shrink_to_fit().unwrap();
        assert!(view.capacity() < 60_000, "in place, or in another block");
        assert!(view.iter().copied().eq(0..50_000), "{point}");
        view.clear();
        view.shrink_to_fit().unwrap();
        guard.clear_poison();
        drop(guard);
        s.recover();
        accounted(&s);
    }
}

#[test]
fn containers_give_their_room_back_where_they_stand() {
    let s = Segment::anonymous().size(8 << 20).create().unwrap();
    let list =
        s.construct::<ShmMutex<crate::ShmVec<u64>>>("list", ShmMutex::new(crate::ShmVec::new())).unwrap();
    let text = s.construct::<ShmMutex<crate::ShmString>>("text", ShmMutex::new("")).unwrap();
    {
        let mut guard = list.lock().unwrap();
        let mut view = guard.view();
        view.reserve_exact(300_000).unwrap();
        view.extend(0..20_000).unwrap();
        // Too little is left for another block as long as what is to stay.
        let filler = (0..).map_while(|_| s.access().allocate(pages(8)).ok()).count();
        assert!(filler > 10);
        let (first, used) = (view.as_ptr(), s.used());
        view.shrink_to_fit().unwrap();
        assert_eq!(view.as_ptr(), first);
        assert!((20_000..25_000).contains(&view.capacity()));
        assert!(s.used() < used - 2_000_000);
        assert!(view.iter().copied().eq(0..20_000));
        view.shrink_to(5).unwrap();
        assert!(view.iter().copied().eq(0..20_000));
    }
    {
        let mut guard = text.lock().unwrap();
        let mut view = guard.view();
        view.push_str(&"x".repeat(60_000)).unwrap();
        view.reserve(1_000_000).unwrap();
        let (first, used) = (view.as_ptr(), s.used());
        view.shrink_to_fit().unwrap();
        assert_eq!((view.as_ptr(), view.len()), (first, 60_000));
        assert!((60_000..80_000).contains(&view.capacity()));
        assert!(s.used() < used - 900_000);
    }
    accounted(&s);
    assert!(s.destroy::<ShmMutex<crate::ShmVec<u64>>>("list").unwrap());
    drop(list);
    accounted(&s);
}

#[test]
fn trimming_changes_nothing_that_is_there() {
    let s = segment();
    let name =
        |i: usize| format!("{} {i}", "a name that does not fit into its directory entry".repeat(i % 5));
    for i in 0..300 {
        drop(s.construct::<crate::ShmString>(&name(i), "x".repeat(i * 20)).unwrap());
    }
    for i in (0..300).filter(|i| i % 3 > 0) {
        assert!(s.destroy::<crate::ShmString>(&name(i)).unwrap());
    }
    give(&s, take(&s, 500), 500);
    let (used, size) = (s.used(), s.size());
    let before = s.committed();
    let given = s.trim().unwrap();
    assert!(given > 1 << 20);
    assert_eq!((s.used(), s.size(), s.committed()), (used, size, before - given));
    for i in 0..300 {
        let found = s.find::<crate::ShmString>(&name(i)).unwrap();
        assert_eq!(found.map(|text| text.len()), (i % 3 == 0).then_some(i * 20));
    }
    assert_eq!(s.committed(), before - given, "looking at it brings nothing back");
    accounted(&s);
}

/// A recoverer that dies between releasing a lock and striking it out leaves a note, too; what the lock stood in may be freed
/// and given back to the system before the next recoverer comes.
#[test]
fn who_looks_at_a_note_brings_no_memory_back() {
    let s = small();
    let block = s.allocate(pages(20)).unwrap().cast::<u8>();
    let at = s.handle_of(block.as_ptr()).unwrap();
    killed(&s, move |s, death| {
        attach(&s);
        let lock = s.address_of(at).unwrap().as_ptr().wrapping_add(10 * PAGE);
        let slot = crate::participant::current_owner(lock).unwrap();
        let _ = slot.intend(lock, 0);
        death.strike();
    });
    // SAFETY: allocated above.
    unsafe { s.deallocate(block, pages(20)) };
    assert!(s.trim().unwrap() >= 20 * PAGE as u64);
    let blocks = || rustix::fs::fstat(&s).unwrap().st_blocks;
    let before = blocks();
    let holds: usize =
        s.participants().iter().flat_map(|process| &process.threads).map(|thread| thread.holds.len()).sum();
    assert_eq!((holds, blocks()), (0, before));
    s.recover();
    assert_eq!(s.attached_pids().len(), 1);
    assert_eq!(blocks(), before);
    accounted(&s);
}
