//! Leak recovery after processes that were killed in a loop of allocations, in a segment whose threads have free blocks at
//! hand: to the last byte only what is owned stays, and what is raw.

use shmem_core::{Segment, ShmVec};
use shmem_tests::*;
use std::alloc::Layout;
use std::collections::HashSet;
use std::ptr::NonNull;
use std::time::Duration;

roles! { allocator }

/// Many are small, so that magazines are filled and emptied again and again.
const SIZES: [usize; 12] = [16, 32, 40, 64, 64, 64, 100, 256, 1000, 4000, 20_000, 200_000];

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// A block that its process knows of, and nobody else.
struct Block {
    at: NonNull<u8>,
    size: usize,
    raw: bool,
}

fn allocator() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let mut random = Random::new(argument(1));
    report("works");
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        if blocks.len() < 60 && random.below(2) == 0 {
            let (size, raw) = (*random.pick(&SIZES), random.below(3) == 0);
            let block = match raw {
                true => segment.allocate(layout(size)),
                false => segment.access().allocate(layout(size)),
            };
            blocks.push(Block { at: block.unwrap().cast(), size, raw });
        } else if !blocks.is_empty() {
            let Block { at, size, raw } = blocks.swap_remove(random.below(blocks.len() as u64) as usize);
            // SAFETY: this process's block, allocated with this layout, the same way.
            unsafe {
                match raw {
                    true => segment.deallocate(at, layout(size)),
                    false => segment.access().deallocate(at, layout(size)),
                }
            }
        }
    }
}

#[test]
fn what_allocators_had_in_hand_and_at_hand_comes_back() {
    let _watchdog = Watchdog::test("leaks at hand");
    let name = TempName::new("leaks-at-hand");
    let mut segment = name.segment().size(64 << 20).create().unwrap();
    segment.construct::<ShmVec<u64>>("kept", (0..5000).collect::<Vec<_>>()).unwrap();
    let mut random = Random::new(Random::fresh_seed("leaks at hand"));
    let (used, mut swept, mut kept_raw) = (segment.used(), 0, 0);
    for _ in 0..if long() { 300 } else { 12 } {
        let start = |_| Worker::spawn("allocator", &[&name, &random.word()]);
        let mut workers: Vec<Worker> = (0..3).map(start).collect();
        workers.iter_mut().for_each(|worker| worker.expect("works"));
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        workers.iter_mut().for_each(Worker::kill);
        segment.recover();
        let raw: HashSet<_> = segment.raw_blocks().into_iter().collect();
        let before = segment.used();

        let report = segment.recover_leaks().unwrap();
        let memory = segment.memory();
        assert_eq!((report.live_bytes, report.raw_blocks), (segment.used(), raw.len() as u64), "{report}");
        assert_eq!(segment.used(), used + memory.raw_bytes, "{report}\n{memory}");
        assert_eq!(before - segment.used(), report.swept_bytes(), "{report}");
        assert_eq!(segment.raw_blocks().into_iter().collect::<HashSet<_>>(), raw, "no raw block is swept");
        assert_eq!(segment.recover_leaks().unwrap().swept_bytes(), 0);
        assert!(segment.verify().unwrap().is_sound());
        swept += report.swept_blocks();
        kept_raw += raw.len();

        // What was swept is free, once: not what somebody has at hand besides.
        let blocks: Vec<_> = (0..3000).map(|_| segment.allocate(layout(64)).unwrap().cast::<u8>()).collect();
        let handles: HashSet<_> = blocks.iter().map(|at| segment.handle_of(at.as_ptr()).unwrap()).collect();
        assert_eq!(handles.len(), blocks.len());
        assert!(raw.iter().all(|(handle, _)| !handles.contains(handle)));
        // SAFETY: this process's; and those of the dead, of which all usable bytes were asked for, so to speak.
        unsafe {
            blocks.into_iter().for_each(|at| segment.deallocate(at, layout(64)));
            for (handle, usable) in raw {
                segment.deallocate(segment.address_of(handle).unwrap(), layout(usable));
            }
        }
        assert_eq!((segment.used(), segment.memory().bad_frees), (used, 0));
        sound(&segment);
    }
    assert!(swept > 20 && kept_raw > 20, "{swept} {kept_raw}");
    let kept = segment.find::<ShmVec<u64>>("kept").unwrap().unwrap();
    assert!(kept.iter().copied().eq(0..5000));
}
