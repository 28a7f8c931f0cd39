//! Memory as bytes: what Boost.Interprocess's tests of memory algorithms ask of it, through a segment.

use super::*;
use crate::error::{AllocError, Error, Result};
use crate::sync::ShmMutex;
use crate::{BlockHandle, ShmHashMap, ShmString, ShmVec};
use std::alloc::Layout;
use std::ptr::NonNull;

fn segment() -> Segment {
    Segment::anonymous().size(256 << 10).create().unwrap()
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

type Block = (NonNull<[u8]>, Layout);

fn take(segment: &Segment, layout: Layout) -> Result<Block> {
    let block = segment.allocate(layout)?;
    assert!(block.len() >= layout.size());
    assert!(block.cast::<u8>().addr().get().is_multiple_of(layout.align()), "{layout:?}");
    assert!(segment.usable_size(block.cast()).unwrap() >= block.len());
    fill(block, 1);
    Ok((block, layout))
}

fn fill(block: NonNull<[u8]>, byte: u8) {
    // SAFETY: a live block of the test's.
    unsafe { block.cast::<u8>().write_bytes(byte, block.len()) }
}

fn bytes(block: &NonNull<[u8]>) -> &[u8] {
    // SAFETY: a live block of the test's that nobody writes meanwhile.
    unsafe { block.as_ref() }
}

fn give(segment: &Segment, (block, layout): Block) {
    // SAFETY: a live block of the test's, as it was allocated.
    unsafe { segment.deallocate(block.cast(), layout) }
}

/// Blocks of sizes 0, 1, 2 … until there is no more memory.
fn take_all(segment: &Segment) -> Vec<Block> {
    let blocks: Vec<Block> = (0..).map_while(|size| take(segment, layout(size, 1)).ok()).collect();
    assert!(blocks.len() > 100);
    blocks
}

#[track_caller]
fn assert_unused(segment: &Segment, free: u64) {
    assert_eq!(segment.free_memory(), free);
    assert!(segment.all_memory_deallocated());
    assert_eq!((segment.check(), segment.memory().bad_frees), (vec![], 0));
}

#[test]
fn all_memory_can_be_had_and_given_back_in_every_order() {
    let s = segment();
    let free = s.free_memory();
    assert_unused(&s, free);
    for order in 0..3 {
        let mut blocks = take_all(&s);
        assert!(!s.all_memory_deallocated());
        match order {
            0 => {}
            1 => blocks.reverse(),
            _ => {
                let (mut mixed, mut rest) = (Vec::new(), std::collections::VecDeque::from(blocks));
                while let Some(block) = if mixed.len() % 4 < 2 { rest.pop_front() } else { rest.pop_back() } {
                    mixed.push(block);
                }
                blocks = mixed;
            }
        }
        blocks.into_iter().for_each(|block| give(&s, block));
        assert_unused(&s, free);
    }
}

#[test]
fn every_size_with_every_alignment_until_there_is_no_more() {
    let s = segment();
    let free = s.free_memory();
    for align in (0..=12).map(|bit| 1 << bit) {
        for size in (1..600).step_by(37).chain([4096, 10_000]) {
            let block = take(&s, layout(size, align)).unwrap();
            give(&s, block);
        }
        let blocks: Vec<Block> = (1..).map_while(|size| take(&s, layout(size, align)).ok()).collect();
        assert!(blocks.len() >= 60, "{align}: {}", blocks.len());
        blocks.into_iter().for_each(|block| give(&s, block));
        assert_unused(&s, free);
    }
    let error = s.allocate(layout(1, 8192)).unwrap_err();
    assert!(matches!(error, Error::Alloc(AllocError::TooLarge { wanted_bytes: 1, align: 8192 })), "{error}");
}

#[test]
fn too_much_is_an_error_that_says_what_can_be_had() {
    let s = segment();
    let (free, kept) = (s.free_memory(), take(&s, layout(1000, 8)).unwrap());
    let used = s.used();
    for size in [free as usize + 1, 1 << 40, isize::MAX as usize - 7] {
        let error = s.allocate(layout(size, 8)).unwrap_err();
        let Error::Alloc(AllocError::OutOfMemory { wanted_bytes, largest_free_bytes }) = error else {
            panic!("{error}")
        };
        assert_eq!(wanted_bytes, size as u64);
        let largest = take(&s, layout(largest_free_bytes as usize, 8)).expect("it said so");
        give(&s, largest);
        assert!(s.allocate(layout(largest_free_bytes as usize + 1, 8)).is_err());
        assert_eq!(s.used(), used);
    }
    give(&s, kept);
    assert_unused(&s, free);
}

#[test]
fn a_block_expands_again_and_again_until_something_is_in_its_way() {
    let s = segment();
    let free = s.free_memory();
    let mut blocks: Vec<Block> = (0..30).map(|n| take(&s, layout(5000 + n, 8)).unwrap()).collect();
    // Room behind every other one.
    let odd: Vec<Block> = (0..15).map(|n| blocks.remove(n + 1)).collect();
    odd.into_iter().for_each(|block| give(&s, block));
    let mut grown = 0;
    for (block, layout) in &mut blocks {
        loop {
            let least = block.len() + 1;
            // SAFETY: live, with its layout.
            match unsafe { s.try_expand(block.cast(), *layout, least, 2 * least) } {
                Ok(longer) => {
                    assert!(longer.cast::<u8>() == block.cast() && longer.len() >= least);
                    assert!(bytes(block).iter().all(|byte| *byte == 1), "what stood in it stays");
                    *block = longer;
                    fill(longer, 1);
                    grown += 1;
                }
                Err(Error::Alloc(AllocError::CannotExpand { wanted_bytes, possible_bytes })) => {
                    assert_eq!((wanted_bytes, possible_bytes), (least as u64, block.len() as u64));
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(grown >= 14, "{grown}");
    blocks.into_iter().for_each(|block| give(&s, block));
    assert_unused(&s, free);
}

#[test]
fn a_block_becomes_shorter_and_as_long_as_before_again() {
    let s = segment();
    let free = s.free_memory();
    let mut blocks: Vec<Block> =
        [40, 100, 2000, 9000, 50_000, 100_000].map(|n| take(&s, layout(n, 8)).unwrap()).to_vec();
    for (block, layout) in &mut blocks {
        fill(*block, 3);
        let (before, wanted) = (block.len(), layout.size() / 2);
        // SAFETY: live, with its layout; what is behind is not used.
        let after = unsafe { s.try_shrink(block.cast(), *layout, wanted) }.unwrap();
        assert!(wanted <= after && after <= before);
        assert!(s.usable_size(block.cast()).unwrap() >= after);
        assert!(after < before || before < 8192);
        let shorter = NonNull::slice_from_raw_parts(block.cast(), after);
        assert!(bytes(&shorter).iter().all(|byte| *byte == 3));
        *layout = Layout::from_size_align(after, 8).unwrap();
        // SAFETY: live, with its layout, in turn.
        unsafe {
            let again = s.try_expand(block.cast(), *layout, before, before).unwrap();
            assert_eq!((again.len(), again.cast::<u8>()), (before, block.cast()));
            assert_eq!(
                s.try_shrink(block.cast(), Layout::from_size_align(before, 8).unwrap(), wanted),
                Some(after)
            );
        }
    }
    blocks.iter().for_each(|(block, layout)| {
        // SAFETY: live, with its layout.
        unsafe { s.deallocate(block.cast(), *layout) }
    });
    assert_unused(&s, free);
    let (block, layout) = blocks[5];
    // SAFETY: none: it is no block any more, and that is found out.
    assert_eq!(unsafe { s.try_shrink(block.cast(), layout, 1) }, None);
}

#[test]
fn the_last_block_gets_all_memory_before_it() {
    for size in [5000, 20_000, 99_999] {
        let s = segment();
        let free = s.free_memory();
        let mut blocks: Vec<Block> = std::iter::from_fn(|| take(&s, layout(size, 8)).ok()).collect();
        blocks.sort_by_key(|(block, _)| block.cast::<u8>());
        let (last, last_layout) = blocks.pop().unwrap();
        fill(last, 9);
        // Under a sanitizer a slice is as long as was asked for.
        let usable = |block: NonNull<[u8]>| s.usable_size(block.cast()).unwrap();
        let room: usize = blocks.iter().map(|(block, _)| usable(*block)).sum();
        let end = last.cast::<u8>().addr().get() + usable(last);
        let refused = |least| {
            // SAFETY: live, with its layout; it stays.
            match unsafe { s.try_expand_backward(last.cast(), last_layout, least, least) } {
                Err(Error::Alloc(AllocError::CannotExpand { possible_bytes, .. })) => possible_bytes as usize,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(usable(last) + 1), usable(last));
        blocks.into_iter().for_each(|block| give(&s, block));
        let possible = refused(usable(last) + room + free as usize);
        assert!(possible >= usable(last) + room);
        // Piece by piece, and then the rest.
        let (mut block, mut layout) = (last, last_layout);
        for wanted in [usable(last) + 1, usable(last) + 3 * size, usize::MAX >> 1] {
            let least = wanted.min(possible);
            // SAFETY: live, with its layout.
            block = unsafe { s.try_expand_backward(block.cast(), layout, least, wanted) }.unwrap();
            layout = Layout::from_size_align(block.len(), 8).unwrap();
            assert_eq!(s.usable_size(block.cast()), Some(block.len()));
            assert_eq!(s.memory().raw_blocks, 1);
            assert!(bytes(&last).iter().all(|byte| *byte == 9), "what stood in it stays where it was");
            assert_eq!(block.cast::<u8>().addr().get() + block.len(), end);
        }
        assert_eq!(block.len(), possible);
        give(&s, (block, layout));
        assert_unused(&s, free);
    }
    // A block of a size class has none before it.
    let s = segment();
    let (block, small) = take(&s, layout(100, 8)).unwrap();
    // SAFETY: live, with its layout.
    unsafe {
        assert_eq!(s.try_expand_backward(block.cast(), small, 100, 5000).unwrap(), block);
        assert!(s.try_expand_backward(block.cast(), small, 5000, 5000).is_err());
    }
    give(&s, (block, small));
}

#[test]
fn zeroed_blocks_are_zero_to_their_usable_size() {
    let s = segment();
    let free = s.free_memory();
    // What was there before is not.
    take_all(&s).into_iter().for_each(|block| give(&s, block));
    for size in [0, 1, 30, 100, 3000, 20_000] {
        let block = s.allocate_zeroed(layout(size, 8)).unwrap();
        assert!(bytes(&block).iter().all(|byte| *byte == 0) && block.len() >= size.max(32));
        fill(block, 1);
        give(&s, (block, layout(size, 8)));
    }
    assert_unused(&s, free);
}

#[test]
fn all_that_was_freed_reads_as_zero_after_a_wipe() {
    let s = segment();
    let free = s.free_memory();
    let kept = take(&s, layout(777, 8)).unwrap();
    take_all(&s).into_iter().for_each(|block| give(&s, block));
    assert!(s.zero_free_memory() > 200 << 10);
    assert!(bytes(&kept.0).iter().all(|byte| *byte == 1));
    let blocks: Vec<Block> = (0..)
        .map_while(|size| s.allocate(layout(size, 1)).ok().map(|block| (block, layout(size, 1))))
        .collect();
    for (block, _) in &blocks {
        assert!(bytes(block).iter().all(|byte| *byte == 0));
    }
    blocks.into_iter().chain([kept]).for_each(|block| give(&s, block));
    assert_unused(&s, free);
}

#[test]
fn many_blocks_of_one_layout_are_had_at_once_or_not_at_all() {
    let s = segment();
    let free = s.free_memory();
    for size in [0, 1, 24, 100, 1000, 5000] {
        for align in [1, 8, 64, 4096] {
            let layout = layout(size, align);
            for n in [0, 1, 7, 20] {
                let many = s.allocate_many(layout, n).unwrap();
                assert_eq!(many.len(), n);
                for block in &many {
                    assert!(block.len() >= size && block.cast::<u8>().addr().get().is_multiple_of(align));
                    fill(*block, 1);
                }
                let mut starts: Vec<_> = many.iter().map(|block| block.cast::<u8>()).collect();
                starts.sort();
                starts.dedup();
                assert_eq!(starts.len(), n);
                if n % 2 == 0 {
                    // SAFETY: live blocks of the test's, as they were allocated.
                    unsafe { s.deallocate_many(many.into_iter().map(|block| (block.cast(), layout))) };
                } else {
                    many.into_iter().for_each(|block| give(&s, (block, layout)));
                }
                assert_unused(&s, free);
            }
        }
    }
    let kept = take(&s, layout(1000, 8)).unwrap();
    let used = s.used();
    for n in [300, 1 << 20, usize::MAX] {
        let Err(Error::Alloc(AllocError::OutOfMemory { wanted_bytes, largest_free_bytes })) =
            s.allocate_many(layout(1000, 8), n)
        else {
            panic!("{n} blocks")
        };
        assert_eq!(wanted_bytes, 1000u64.saturating_mul(n as u64));
        assert!(largest_free_bytes > 100_000 && s.used() == used, "all of them were given back");
    }
    assert!(s.allocate_many(layout(0, 1), usize::MAX).is_err());
    give(&s, kept);
    assert_unused(&s, free);
}

#[test]
fn many_blocks_of_different_layouts_too() {
    let s = segment();
    let free = s.free_memory();
    let layouts: Vec<Layout> = (0..40).map(|n| layout(n * n * 3, 1 << (n % 13))).collect();
    let many = s.allocate_each(&layouts).unwrap();
    for (block, layout) in many.iter().zip(&layouts) {
        assert!(block.len() >= layout.size());
        assert!(block.cast::<u8>().addr().get().is_multiple_of(layout.align()));
        fill(*block, 1);
    }
    // SAFETY: live blocks of the test's, as they were allocated.
    unsafe { s.deallocate_many(many.into_iter().map(NonNull::cast).zip(layouts.iter().copied())) };
    assert_unused(&s, free);
    // The last one is too large, or has no alignment that there is.
    for last in [layout(200 << 10, 8), layout(1, 8192)] {
        let sum: usize = layouts.iter().chain([&last]).map(Layout::size).sum();
        match s.allocate_each(&[&layouts[..], &[last]].concat()).unwrap_err() {
            Error::Alloc(AllocError::OutOfMemory { wanted_bytes, .. }) => {
                assert_eq!(wanted_bytes, sum as u64)
            }
            Error::Alloc(AllocError::TooLarge { align: 8192, .. }) => assert_eq!(last.align(), 8192),
            error => panic!("{error}"),
        }
        assert_unused(&s, free);
    }
}

#[test]
fn handles_lead_to_the_same_bytes_through_every_mapping() {
    let one = segment();
    let two = Segment::from_fd(&one).unwrap();
    let other = segment();
    let (block, of) = take(&one, layout(100, 8)).unwrap();
    let start: NonNull<u8> = block.cast();
    assert!(one.contains_address(start.as_ptr()) && one.contains_address(&bytes(&block)[99]));
    let handle = one.handle_of(start.as_ptr()).unwrap();
    assert_eq!(one.address_of(handle), Some(start));
    let there = two.address_of(handle).unwrap();
    assert_ne!(there, start);
    fill(block, 42);
    // SAFETY: the same live block.
    assert_eq!(unsafe { there.add(50).read() }, 42);
    assert_eq!(two.handle_of(there.as_ptr()), Some(handle));
    assert_eq!(two.usable_size(there), one.usable_size(start));
    for elsewhere in [&two, &other] {
        assert!(!elsewhere.contains_address(start.as_ptr()));
        assert_eq!(elsewhere.handle_of(start.as_ptr()), None);
        assert_eq!(elsewhere.usable_size(start), None);
    }
    let local = 7u64;
    assert_eq!((one.handle_of(&local), one.contains_address(&local)), (None, false));
    // Beyond what there is memory for, and before the first block.
    for offset in [0, 4096, one.handle_of(start.as_ptr()).unwrap().offset() + one.size(), u64::MAX] {
        assert_eq!(one.address_of(BlockHandle::from_offset(offset)), None, "{offset:#x}");
    }
    // Objects and their parts have handles, too; they are no raw blocks.
    let object = one.construct::<ShmVec<u64>>("object", [1, 2, 3]).unwrap();
    let part = one.handle_of(&object[1]).unwrap();
    // SAFETY: an element of a live object that nobody changes.
    assert_eq!(unsafe { two.address_of(part).unwrap().cast::<u64>().read() }, 2);
    assert_eq!(one.handle_of(&*object).unwrap().offset(), object.offset());
    assert_eq!(one.usable_size(NonNull::from(&*object).cast()), None);
    // Freed through the other mapping.
    // SAFETY: live, as it was allocated.
    unsafe { two.deallocate(there, of) };
    assert_eq!((one.usable_size(start), one.memory().bad_frees), (None, 0));
    // SAFETY: none: an address of the other mapping, which must be without effect.
    unsafe { two.deallocate(start, of) };
    assert_eq!(one.memory().bad_frees, 1);
}

#[test]
fn handles_can_be_stored() {
    let s = segment();
    let blocks: Vec<Block> = (0..20).map(|n| take(&s, layout(100 + n, 8)).unwrap()).collect();
    let handle = |block: &Block| s.handle_of(block.0.cast::<u8>().as_ptr()).unwrap();
    type Map = ShmMutex<ShmHashMap<BlockHandle, u64>>;
    let map = s.construct::<Map>("blocks", ShmMutex::new(ShmHashMap::new())).unwrap();
    for (n, block) in blocks.iter().enumerate() {
        assert!(map.lock().unwrap().view().insert(handle(block), n as u64).unwrap());
    }
    let there = Segment::from_fd(&s).unwrap();
    let found = there.find::<Map>("blocks").unwrap().unwrap();
    for (n, block) in blocks.iter().enumerate() {
        assert_eq!(found.lock().unwrap()[&handle(block)], n as u64);
    }
    let error = s.find::<ShmMutex<ShmHashMap<u64, u64>>>("blocks").map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Name(_)), "a handle is no number: {error}");
    blocks.into_iter().for_each(|block| give(&s, block));
}

#[test]
fn objects_are_no_raw_blocks_and_the_other_way_round() {
    for checked in [false, true] {
        let s = Segment::anonymous().size(256 << 10).checked(checked).create().unwrap();
        let object = s.construct::<[u64; 16]>("object", [7; 16]).unwrap();
        // SAFETY: none: an object is no raw block, which must be without effect.
        unsafe { s.deallocate(NonNull::from(&*object).cast(), Layout::new::<[u64; 16]>()) };
        assert_eq!(s.memory().bad_frees, 1);
        let (block, of) = take(&s, layout(128, 8)).unwrap();
        if checked {
            // SAFETY: none: a raw block is no object's, which must be without effect.
            unsafe { s.access().deallocate(block.cast(), of) };
            assert_eq!(s.memory().bad_frees, 2);
            assert!(s.usable_size(block.cast()).is_some());
        }
        let before = s.memory().bad_frees;
        give(&s, (block, of));
        give(&s, (block, of));
        assert_eq!((object[..].to_vec(), s.memory().bad_frees), (vec![7; 16], before + 1));
        assert_eq!(s.check(), []);
    }
}

#[test]
fn everything_is_deallocated_when_objects_and_blocks_are_gone() {
    let s = segment();
    assert!(s.all_memory_deallocated());
    let names: Vec<String> =
        (0..100).map(|n| format!("{n} a name that is too long for an entry of the directory")).collect();
    for name in &names {
        s.construct::<ShmString>(name, &**name).unwrap();
    }
    let block = take(&s, layout(50, 8)).unwrap();
    for name in &names {
        assert!(!s.all_memory_deallocated());
        assert!(s.destroy::<ShmString>(name).unwrap());
    }
    assert!(!s.all_memory_deallocated(), "the block is there");
    give(&s, block);
    assert!(s.all_memory_deallocated(), "what is left is of names and types");
    let kept = s.construct_anonymous::<()>(()).unwrap();
    assert!(!s.all_memory_deallocated(), "an object without bytes");
    drop(kept);
    assert!(s.all_memory_deallocated());
}

/// A hundred blocks, found again by whoever opens the segment after everybody had gone.
#[test]
fn blocks_stay_when_every_handle_is_gone() {
    let name = format!("shmem-raw-{}", std::process::id());
    let _remove = crate::RemoveOnDrop::shared(&name).unwrap();
    let handles: Vec<BlockHandle> = {
        let s = Segment::shared(&name).size(1 << 20).create().unwrap();
        (0..100).map(|n| s.handle_of(take(&s, layout(n + 1, 8)).unwrap().0.as_ptr()).unwrap()).collect()
    };
    let s = Segment::shared(&name).open().unwrap();
    assert_eq!(s.memory().raw_blocks, 100);
    for (n, handle) in handles.into_iter().enumerate() {
        let at = s.address_of(handle).unwrap();
        let block = NonNull::slice_from_raw_parts(at, s.usable_size(at).unwrap());
        assert!(bytes(&block).iter().take(n + 1).all(|byte| *byte == 1));
        give(&s, (block, layout(n + 1, 8)));
    }
    assert!(s.all_memory_deallocated());
}
