//! Memory as bytes, between processes: blocks that one allocates and another finds by handle and frees; processes that
//! are killed while they allocate and free.

use shmem_core::{BlockHandle, Segment, ShmMutex, ShmVec, set_bad_free_hook};
use shmem_tests::*;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Mutex;

roles! { taker, churner }

type Blocks = ShmMutex<ShmVec<BlockHandle>>;

/// The layout of the `n`th block, which everybody knows.
fn layout(n: usize) -> Layout {
    Layout::from_size_align(1 + n * 97 % 9000, 1 << (n % 13)).unwrap()
}

fn byte(n: usize) -> u8 {
    n as u8 | 1
}

/// Reads every block and frees it, then leaves others of its own.
fn taker() {
    let (name, n): (String, usize) = (argument(0), argument(1));
    // Something else stands where the segment stood for the other process, or the segment does.
    let in_the_way = [(); 3].map(|()| Segment::shared(&name).open().unwrap());
    let segment = Segment::shared(&name).open().unwrap();
    let blocks = segment.find::<Blocks>("blocks").unwrap().unwrap();
    let mut guard = blocks.lock().unwrap();
    assert_eq!(guard.len(), n);
    for (i, handle) in guard.iter().enumerate() {
        let at = segment.address_of(*handle).unwrap();
        assert_eq!(segment.handle_of(at.as_ptr()), Some(*handle));
        let usable = segment.usable_size(at).unwrap();
        assert!(usable >= layout(i).size() && at.addr().get().is_multiple_of(layout(i).align()));
        // SAFETY: live; who has the lock has the blocks.
        let bytes = unsafe { std::slice::from_raw_parts(at.as_ptr(), usable) };
        assert!(bytes.iter().all(|found| *found == byte(i)), "block {i}");
        // SAFETY: live, as it was allocated, by whichever process.
        unsafe { segment.deallocate(at, layout(i)) };
    }
    guard.view().clear();
    for i in 0..n {
        guard.view().push(fresh(&segment, i)).unwrap();
    }
    drop(in_the_way);
}

fn fresh(segment: &Segment, n: usize) -> BlockHandle {
    let block = segment.allocate(layout(n)).unwrap();
    // SAFETY: fresh and ours.
    unsafe { block.cast::<u8>().write_bytes(byte(n), block.len()) };
    segment.handle_of(block.cast::<u8>().as_ptr()).unwrap()
}

#[test]
fn blocks_pass_from_process_to_process() {
    let _watchdog = Watchdog::test("blocks pass");
    let name = TempName::new("raw-pass");
    let segment = name.segment().size(8 << 20).create().unwrap();
    let blocks = segment.construct::<Blocks>("blocks", ShmMutex::new(ShmVec::new())).unwrap();
    let n = 300;
    for i in 0..n {
        let handle = fresh(&segment, i);
        blocks.lock().unwrap().view().push(handle).unwrap();
    }
    // Each frees what the one before it has left.
    for _ in 0..3 {
        Worker::spawn("taker", &[&name, &n]).finish();
        assert_eq!(segment.memory().raw_blocks, n as u64);
        sound(&segment);
    }
    for (i, handle) in blocks.lock().unwrap().iter().enumerate() {
        // SAFETY: live, as the last process has allocated it.
        unsafe { segment.deallocate(segment.address_of(*handle).unwrap(), layout(i)) };
    }
    let stats = segment.memory();
    assert_eq!((stats.raw_blocks, stats.raw_bytes, stats.bad_frees), (0, 0, 0));
    drop(blocks);
    assert!(segment.destroy::<Blocks>("blocks").unwrap() && segment.all_memory_deallocated());
}

/// How many blocks a churner has at most.
const HELD: usize = 40;

/// Allocates and frees until it is killed, and says what it is about to do to which block.
fn churner() {
    let segment = Segment::shared(&argument::<String>(0)).open().unwrap();
    let mut random = Random::new(argument(1));
    let mut blocks: Vec<(NonNull<u8>, usize)> = Vec::new();
    report("running");
    loop {
        let n = random.below(4000) as usize;
        if blocks.len() < HELD && random.below(2) == 0 {
            blocks.push((segment.allocate(layout(n)).unwrap().cast(), n));
        } else if !blocks.is_empty() {
            let (block, n) = blocks.swap_remove(n % blocks.len());
            // SAFETY: live and ours, as it was allocated.
            unsafe { segment.deallocate(block, layout(n)) };
        }
        if random.below(200) == 0 {
            segment.zero_free_memory();
        }
    }
}

#[test]
fn killed_processes_leave_the_blocks_they_had_and_one_in_hand_at_most() {
    let _watchdog = Watchdog::test("killed processes");
    let name = TempName::new("raw-kill");
    let segment = name.segment().size(16 << 20).max_size(16 << 20).create().unwrap();
    let seed = Random::fresh_seed("raw kill");
    let (mut random, kills) = (Random::new(seed), if long() { 300 } else { 30 });
    let before = segment.memory();
    let mut kept = 0;
    for kill in 0..kills {
        let mut worker = Worker::spawn("churner", &[&name, &(seed + kill)]);
        worker.expect("running");
        std::thread::sleep(std::time::Duration::from_micros(random.below(20_000)));
        worker.kill();
        sound(&segment);
        let stats = segment.memory();
        // What it held stays, marked: it is the program's. What it had in hand may be there without a mark.
        assert!(stats.raw_blocks <= kept + HELD as u64, "{stats}");
        let live = |stats: &shmem_core::HeapStats| {
            stats.spans + stats.classes.iter().map(|class| class.live).sum::<u64>()
        };
        let unmarked = live(&stats) - live(&before) - stats.raw_blocks;
        assert!(unmarked <= kill + 1, "{unmarked} blocks without a mark after {kill} kills\n{stats}");
        kept = stats.raw_blocks;
    }
    assert!(kept > 0 && segment.memory().bad_frees == 0);
    // The others have gone on as if nothing had been.
    let blocks = segment.allocate_many(Layout::new::<[u64; 32]>(), 100).unwrap();
    let layout = Layout::new::<[u64; 32]>();
    // SAFETY: live, as they were allocated.
    unsafe { segment.deallocate_many(blocks.into_iter().map(|block| (block.cast(), layout))) };
    assert_eq!(segment.memory().raw_blocks, kept);
}

static REFUSED: Mutex<Vec<(u64, &str)>> = Mutex::new(Vec::new());

/// The only test of this suite that frees what is not live.
#[test]
fn what_is_refused_is_told_to_the_hook() {
    let segment = Segment::anonymous().size(1 << 20).checked(true).create().unwrap();
    let before = set_bad_free_hook(Some(|bad| REFUSED.lock().unwrap().push((bad.offset, bad.why))));
    let layout = Layout::new::<[u64; 8]>();
    let block: NonNull<u8> = segment.allocate(layout).unwrap().cast();
    let at = segment.handle_of(block.as_ptr()).unwrap().offset();
    let object = segment.construct::<[u64; 8]>("object", [1; 8]).unwrap();
    let mut local = 0u64;
    // SAFETY: none: these are the misuses that must be without effect, but for the one free.
    unsafe {
        segment.deallocate(block.add(8), layout);
        segment.deallocate(block, Layout::new::<[u64; 16]>());
        segment.access().deallocate(block, layout);
        segment.deallocate(NonNull::from(&*object).cast(), layout);
        segment.deallocate(NonNull::from(&mut local).cast(), layout);
        segment.deallocate(block, layout);
        segment.deallocate(block, layout);
    }
    set_bad_free_hook(before);
    let refused = std::mem::take(&mut *REFUSED.lock().unwrap());
    let foreign = refused.get(4).map_or(0, |(offset, _)| *offset);
    assert!(foreign > segment.max_size());
    let expected = [
        (at + 8, "no block begins there"),
        (at, "the block has another size"),
        (at, "the block was allocated raw, and is to be freed so"),
        (object.offset(), "the block is not one that was allocated raw"),
        (foreign, "the address is outside the heap's pages"),
        (at, "the block is free already"),
    ];
    assert_eq!(refused, expected);
    assert_eq!(segment.memory().bad_frees, expected.len() as u64);
    assert_eq!((object[..].to_vec(), segment.check()), (vec![1; 8], vec![]));
}
