//! Large blocks and memory that goes back to the system: processes killed in the middle of either, a full file system.

use shmem_core::access::Access;
use shmem_core::{AllocError, Error, Segment, ShmMutex, ShmString, ShmVec};
use shmem_tests::*;
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

roles! { worker, measured, on_full_file_system }

const CAPACITY: u64 = 16 << 20;
const HEAP_PAGE: u64 = 16 << 10;
/// Smaller requests are no large blocks: half a page.
const LEAST: usize = HEAP_PAGE as usize / 2 + 1;
const WORKERS: usize = 3;
/// Blocks that a worker may have at a time.
const BLOCKS: usize = 6;

/// What a worker has: offsets and sizes asked for, 0 for none.
const ROW: usize = 2 * BLOCKS;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn at(access: Access<'_>, offset: u64) -> NonNull<u8> {
    NonNull::new(access.context().base().wrapping_add(offset as usize)).unwrap()
}

/// Has this thread get a slot in the segment.
fn get_slot(segment: &Segment) {
    drop(segment.find_or_construct::<ShmMutex<u64>>("slot", ShmMutex::new(0)).unwrap().lock().unwrap());
}

/// Marks every 512th byte of a block, and its last one.
fn stamp(block: NonNull<u8>, from: usize, len: usize, mark: u8) {
    for i in (from..len).filter(|i| i % 512 == 0 || i + 1 == len) {
        // SAFETY: inside a block that is this worker's.
        unsafe { block.add(i).write_volatile(mark) };
    }
}

fn is_stamped(block: NonNull<u8>, len: usize, mark: u8) -> bool {
    // SAFETY: inside a live block, which nobody writes to.
    (0..len).step_by(512).all(|i| unsafe { block.add(i).read_volatile() } == mark)
}

/// Allocates, frees, makes longer and shorter, gives memory back, until it is killed.
fn worker() {
    let (segment, me) = (Segment::shared(&argument::<String>(0)).open().unwrap(), argument::<usize>(1));
    let mut random = Random::new(argument(2));
    get_slot(&segment);
    let ledger = segment.find_slice::<AtomicU64>("ledger").unwrap().unwrap();
    let (access, mine, mark) = (segment.access(), &ledger[me * ROW..][..ROW], me as u8 + 1);
    report("running");
    loop {
        let i = 2 * random.below(BLOCKS as u64) as usize;
        let (offset, size) = (mine[i].load(SeqCst), mine[i + 1].load(SeqCst) as usize);
        let wanted = LEAST + random.size(600_000) as usize;
        if offset == 0 {
            if let Ok(block) = access.allocate(layout(wanted)) {
                stamp(block.cast(), 0, wanted, mark);
                mine[i + 1].store(wanted as u64, SeqCst);
                mine[i].store(access.context().offset_of(block.cast::<u8>().as_ptr()).unwrap(), SeqCst);
            }
            continue;
        }
        let block = at(access, offset);
        assert!(is_stamped(block, size, mark), "a block was overwritten");
        match random.below(8) {
            0..4 => {
                mine[i].store(0, SeqCst);
                // SAFETY: this worker's block.
                unsafe { access.deallocate(block, layout(size)) };
            }
            4 | 5 if wanted > size => {
                // SAFETY: likewise.
                let grown = unsafe { access.grow_in_place(block, layout(size), wanted) };
                if grown.is_some() {
                    stamp(block, size, wanted, mark);
                    mine[i + 1].store(wanted as u64, SeqCst);
                }
            }
            4 | 5 => {
                let publish = |usable: usize| mine[i + 1].store(size.min(usable) as u64, SeqCst);
                // SAFETY: likewise; nothing beyond is used from now on.
                unsafe { access.shrink_in_place(block, layout(size), wanted, publish) };
            }
            6 if random.below(4) == 0 => {
                segment.trim().unwrap();
            }
            _ => {}
        }
    }
}

/// The live blocks, by asking the heap's tables about every `step`th byte.
fn live_blocks(segment: &Segment, step: u64) -> BTreeMap<u64, u64> {
    let (context, mut found) = (segment.access().context(), BTreeMap::new());
    let (mut offset, end) = (0, (2 << 20) + segment.size());
    while offset < end.min(context.reserved_bytes() as u64) {
        match segment.access().block_at(context.base().wrapping_add(offset as usize)) {
            Some(block) => {
                found.insert(block.offset, block.size_bytes);
                offset = (block.offset + block.size_bytes).next_multiple_of(step);
            }
            None => offset += step,
        }
    }
    found
}

/// All bytes in use are those of live blocks.
#[track_caller]
fn accounted(segment: &Segment) {
    assert_eq!(segment.used(), live_blocks(segment, 16).values().sum::<u64>(), "a page is in no block");
}

#[test]
fn no_kill_costs_a_page() {
    let _watchdog = Watchdog::test("kills in large blocks");
    let name = TempName::new("large");
    let segment = name.segment().size(CAPACITY).max_size(CAPACITY).create().unwrap();
    get_slot(&segment);
    let ledger = segment.construct_slice("ledger", WORKERS * ROW, |_| AtomicU64::new(0)).unwrap();
    let mut random = Random::new(Random::fresh_seed("kills in large blocks"));
    let (base, mut unknown, mut kills) = (segment.used(), 0, 0);
    for round in 0..if long() { 400 } else { 25 } {
        let spawn = |me| Worker::spawn("worker", &[&name, &me, &random.below(1 << 40)]);
        let mut workers: Vec<_> = (0..WORKERS).map(spawn).collect();
        workers.iter_mut().for_each(|worker| worker.expect("running"));
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        for worker in &mut workers {
            worker.kill();
            kills += 1;
        }
        // Sometimes somebody needs the memory before anybody recovers.
        if round % 3 == 0 {
            let block = segment.access().allocate(layout(CAPACITY as usize / 8));
            assert!(block.is_ok() || unknown > 0 || segment.free_memory() < CAPACITY / 2);
            if let Ok(block) = block {
                // SAFETY: allocated just now.
                unsafe { segment.access().deallocate(block.cast(), layout(CAPACITY as usize / 8)) };
            }
        }
        segment.recover();
        sound(&segment);
        assert_eq!(segment.attached_pids().len(), 1);
        if round % 8 == 0 {
            accounted(&segment);
        }
        let live = live_blocks(&segment, HEAP_PAGE);

        // What is in the ledger is whole; what is in no ledger was allocated, or to be freed, by somebody who died then.
        let mut known: BTreeMap<u64, usize> = BTreeMap::new();
        for (me, mine) in ledger.chunks(ROW).enumerate() {
            for i in (0..ROW).step_by(2) {
                let (offset, size) = (mine[i].swap(0, SeqCst), mine[i + 1].load(SeqCst) as usize);
                if offset == 0 {
                    continue;
                }
                assert!(live.get(&offset).is_some_and(|usable| *usable >= size as u64), "a block is lost");
                assert!(is_stamped(at(segment.access(), offset), size, me as u8 + 1));
                assert!(known.insert(offset, size).is_none(), "a block is in use twice");
            }
        }
        let large =
            live.iter().filter(|(offset, size)| **size >= LEAST as u64 && offset.is_multiple_of(HEAP_PAGE));
        let mut lost = 0;
        for (offset, usable) in large {
            let stamped = known.remove(offset);
            let block = at(segment.access(), *offset);
            match stamped {
                // SAFETY: the dead one's.
                Some(size) => unsafe { segment.access().deallocate(block, layout(size)) },
                None if is_stamped(block, 1, 1) || is_stamped(block, 1, 2) || is_stamped(block, 1, 3) => {
                    lost += 1;
                    // SAFETY: of somebody dead, and in no ledger.
                    unsafe { segment.access().deallocate(block, layout(*usable as usize)) };
                }
                // The segment's own, or never stamped.
                None => {}
            }
        }
        assert!(known.is_empty());
        assert!(lost <= WORKERS, "{lost} blocks of {WORKERS} kills");
        // What was allocated by somebody killed before he could stamp it.
        unknown = segment.used().saturating_sub(base);
        assert!(unknown <= kills as u64 * 700_000);
        assert_eq!(segment.memory().bad_frees, 0);
        sound(&segment);
    }
    accounted(&segment);
    // What was given back is gone from the file.
    let file = |name: &TempName| std::fs::metadata(name.path()).unwrap().blocks() * 512;
    let tables = file(&name) - segment.committed().min(file(&name));
    let given = segment.trim().unwrap();
    assert!(given > 0);
    assert!(segment.committed() <= segment.used() + (1 << 20));
    assert!(file(&name) <= tables + segment.committed() + (1 << 20), "{} {tables}", file(&name));
}

/// The lines of `/proc/self/status` that say how much shared memory this process has touched.
fn shared_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn measured() {
    const SIZE: u64 = 48 << 20;
    let name: String = argument(0);
    let segment = Segment::shared(&name).size(64 << 20).create().unwrap();
    let list = segment.construct::<ShmMutex<ShmVec<u64>>>("list", ShmMutex::new(ShmVec::new())).unwrap();
    let blocks = || std::fs::metadata(Path::new("/dev/shm").join(&name)).unwrap().blocks() * 512;
    let figures = || (blocks(), shared_bytes(), segment.committed());
    let fill = || {
        let mut guard = list.lock().unwrap();
        guard.view().reserve_exact(SIZE as usize / 8).unwrap();
        guard.view().extend(0..SIZE / 8).unwrap();
    };
    fill();
    assert!(blocks() >= SIZE && shared_bytes() >= SIZE);
    list.lock().unwrap().view().truncate(1000);
    list.lock().unwrap().view().shrink_to_fit().unwrap();
    // Freed, and still there.
    let full = figures();
    assert!(full.0 >= SIZE && full.1 >= SIZE && full.2 >= SIZE, "{full:?}");
    let given = segment.trim().unwrap();
    assert!(given >= SIZE - (1 << 20));
    let trimmed = figures();
    // All three figures are smaller by what was given back.
    assert_eq!(full.0 - trimmed.0, given);
    assert!(full.1 - trimmed.1 >= SIZE - (1 << 20), "{full:?} {trimmed:?}");
    assert_eq!(full.2 - trimmed.2, given);
    // Looking at everything brings nothing back.
    assert!(segment.check().is_empty() && segment.objects().is_ok() && segment.trim().unwrap() == 0);
    assert!(list.lock().unwrap().iter().copied().eq(0..1000));
    drop(Segment::shared(&name).open().unwrap());
    segment.flush().unwrap();
    assert_eq!((blocks(), segment.committed()), (trimmed.0, trimmed.2));
    // And it comes back.
    list.lock().unwrap().view().clear();
    fill();
    let again = figures();
    assert!(again.0 > trimmed.0 + SIZE - (2 << 20) && again.1 > trimmed.1 + SIZE - (2 << 20), "{again:?}");
    assert!(again.2 <= full.2 + (2 << 20), "{again:?}");
    assert!(list.lock().unwrap().iter().copied().eq(0..SIZE / 8));
    report(format!("{full:?} {trimmed:?} {again:?}"));
}

#[test]
fn memory_given_back_is_the_system_s() {
    let _watchdog = Watchdog::test("measured memory");
    let name = TempName::new("measured");
    let mut worker = Worker::spawn("measured", &[&name]);
    println!("file, touched, committed: {}", worker.hear());
    worker.finish();
}

/// On a tmpfs of 2 MiB, in a mount namespace of its own.
fn on_full_file_system() {
    let dir: PathBuf = argument(0);
    if let Err(e) = mount_tmpfs(&dir, 2 << 20) {
        report(format!("skipped: {e}"));
        return;
    }
    let long = |i| format!("{i}: {}", "a name that does not fit into its directory entry".repeat(4));
    let segment = Segment::file(dir.join("it")).size(8 << 20).create().unwrap();
    for i in 0..40 {
        drop(segment.construct::<ShmString>(&long(i), "x".repeat(3000)).unwrap());
    }
    let big = segment.construct_slice::<u8, _>("big", 600 << 10, |i| i as u8).unwrap();
    for i in 1..40 {
        assert!(segment.destroy::<ShmString>(&long(i)).unwrap());
    }
    assert!(segment.destroy::<u8>("big").unwrap());
    drop(big);
    assert!(segment.trim().unwrap() >= 600 << 10);
    // Somebody else takes what was given back, to the last page: to touch it now would be the end of this process.
    let ballast = dir.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    sound(&segment);
    assert_eq!(segment.objects().unwrap().len(), 1);
    for i in 0..40 {
        assert_eq!(segment.find::<ShmString>(&long(i)).unwrap().is_some(), i == 0);
    }
    let reader = Segment::file(dir.join("it")).open_read_only().unwrap();
    assert_eq!(reader.read::<u64>("none").unwrap(), None);
    segment.flush().unwrap();
    segment.recover();
    assert!(segment.memory().free_bytes > 6 << 20);
    let refused = segment.construct_slice::<u8, _>("big", 600 << 10, |i| i as u8).map(drop);
    assert!(matches!(refused, Err(Error::Alloc(AllocError::NoSpace { .. }))), "{refused:?}");
    assert!(segment.trim().is_ok());
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    let big = segment.construct_slice::<u8, _>("big", 600 << 10, |i| i as u8).unwrap();
    assert!(big.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    sound(&segment);
    report("done");
}

#[test]
fn what_was_given_back_is_not_touched_on_a_full_file_system() {
    let _watchdog = Watchdog::test("a full file system after a trim");
    let dir = TempDir::new("trimmed");
    let mut worker = Worker::spawn("on_full_file_system", &[&dir.path().display()]);
    let outcome = worker.hear();
    if outcome.starts_with("skipped") {
        println!("{outcome}");
    } else {
        assert_eq!(outcome, "done");
    }
    worker.finish();
}
