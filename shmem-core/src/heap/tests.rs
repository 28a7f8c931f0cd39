mod lending;
mod raw_blocks;

use super::intent::Claimant;
use super::page::{PageState, Word};
use super::raw::FREE_LIST;
use super::*;
use crate::mapping::superblock::{DESCRIPTOR_BYTES, HEAP_AT, OS_PAGE, STATE_AT};
use proptest::prelude::*;
use rustix::fs::FallocateFlags;
use rustix::mm::{MapFlags, ProtFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// Commits memory of a memfd, and fails when told to.
struct File {
    fd: OwnedFd,
    /// How many more calls succeed.
    calls_left: AtomicU64,
    /// The longest file allowed.
    limit: AtomicU64,
    calls: AtomicU64,
    /// Whether it can have holes: [`HOLES`], [`NO_HOLES`] or [`BAD_HOLES`].
    holes: AtomicU32,
}

const HOLES: u32 = 0;
/// The file system knows no holes.
const NO_HOLES: u32 = 1;
/// The system fails.
const BAD_HOLES: u32 = 2;

const FULL: AllocError = AllocError::NoSpace { wanted_bytes: 7 };

impl Commit for File {
    fn decommit(&self, offset: u64, len: u64) -> Result<bool, AllocError> {
        assert!(offset.is_multiple_of(OS_PAGE) && len.is_multiple_of(OS_PAGE) && len > 0);
        match self.holes.load(Ordering::SeqCst) {
            NO_HOLES => return Ok(false),
            BAD_HOLES => return Err(AllocError::Os { errno: 5 }),
            _ => {}
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.fd, flags, offset, len).unwrap();
        Ok(true)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        rustix::io::pread(&self.fd, &mut *into, offset) == Ok(into.len())
    }

    fn commit(&self, offset: u64, len: u64) -> Result<(), AllocError> {
        assert!(offset.is_multiple_of(OS_PAGE) && len.is_multiple_of(OS_PAGE) && len > 0);
        self.calls.fetch_add(1, Ordering::SeqCst);
        let spent =
            self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let limit = self.limit.load(Ordering::SeqCst);
        if spent.is_err() || offset + len > limit {
            // As disks do, and tmpfs does not.
            let there = limit.saturating_sub(offset).min(len) / OS_PAGE * OS_PAGE;
            if there > 0 {
                rustix::fs::fallocate(&self.fd, FallocateFlags::KEEP_SIZE, offset, there).unwrap();
            }
            return Err(FULL);
        }
        rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), offset, len)
            .map_err(|e| AllocError::Os { errno: e.raw_os_error() })
    }
}

/// One mapping of a test's segment.
struct Mapping {
    base: usize,
    len: usize,
}

impl Mapping {
    fn new(fd: &OwnedFd, len: usize) -> Self {
        // SAFETY: a fresh shared mapping of the test's own file.
        let base = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::SHARED | MapFlags::NORESERVE;
            rustix::mm::mmap(ptr::null_mut(), len, protection, flags, fd, 0).unwrap()
        };
        Mapping { base: base.expose_provenance(), len }
    }

    fn base(&self) -> NonNull<u8> {
        NonNull::new(ptr::with_exposed_provenance_mut(self.base)).unwrap()
    }

    /// The capacity in the segment's state.
    fn capacity(&self) -> &AtomicU64 {
        // SAFETY: the first page is committed; 8-aligned; an atomic.
        unsafe { &*self.base().as_ptr().add(STATE_AT as usize + 8).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; the heap that used it is gone.
        unsafe { rustix::mm::munmap(self.base().as_ptr().cast(), self.len).unwrap() };
    }
}

/// A heap through a mapping of its own.
struct Process {
    heap: Heap,
    mapping: Mapping,
}

impl std::ops::Deref for Process {
    type Target = Heap;
    fn deref(&self) -> &Heap {
        &self.heap
    }
}

struct Segment {
    file: Arc<File>,
    header: FixedHeader,
}

impl Segment {
    fn new(max_capacity: u64, capacity: u64, commit_all: bool) -> Self {
        let fd = rustix::fs::memfd_create(c"shmem-heap-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let header =
            FixedHeader::new(max_capacity, std::array::from_fn(|i| i as u8 ^ fd.as_raw_fd() as u8), 1);
        rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, header.metadata_bytes()).unwrap();
        let file = File {
            fd,
            calls_left: AtomicU64::new(u64::MAX),
            limit: AtomicU64::new(u64::MAX),
            calls: AtomicU64::new(0),
            holes: AtomicU32::new(HOLES),
        };
        let segment = Segment { file: Arc::new(file), header };
        let mapping = Mapping::new(&segment.file.fd, header.end as usize);
        mapping.capacity().store(capacity, Ordering::SeqCst);
        // SAFETY: 1 to 3: as just made.
        unsafe { Heap::format(mapping.base(), &header, &*segment.file, commit_all) }.unwrap();
        segment
    }

    fn try_attach(&self) -> Result<Process, Corrupt> {
        let mapping = Mapping::new(&self.file.fd, self.header.end as usize);
        // SAFETY: 1: unmapped after the heap is dropped; only ever made longer. 2: our own header and file.
        let heap = unsafe { Heap::attach(mapping.base(), self.header, self.file.clone()) }?;
        Ok(Process { heap, mapping })
    }

    fn attach(&self) -> Process {
        self.try_attach().unwrap()
    }

    fn file_bytes(&self) -> u64 {
        rustix::fs::fstat(&self.file.fd).unwrap().st_size as u64
    }

    fn file_blocks_bytes(&self) -> u64 {
        rustix::fs::fstat(&self.file.fd).unwrap().st_blocks as u64 * 512
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A live block: where, what it was asked with, how long it is, what it is filled with.
#[derive(Clone, Copy)]
struct Live {
    offset: u64,
    layout: Layout,
    usable: usize,
    /// Its size by the heap's tables: `usable`, but for poisoned builds.
    block: u64,
    tag: u8,
}

impl Process {
    fn take(&self, layout: Layout, tag: u8) -> Result<Live, AllocError> {
        let block = self.allocate(layout)?;
        assert!(block.len() >= layout.size());
        assert!(block.cast::<u8>().addr().get().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: fresh and ours.
        unsafe { block.cast::<u8>().write_bytes(tag, block.len()) };
        let offset = self.offset_of(block.cast());
        let info = self.block_at(offset).expect("a live block");
        assert_eq!(info.offset, offset);
        assert!(info.size_bytes == block.len() as u64 || cfg!(shmem_poison));
        Ok(Live { offset, layout, usable: block.len(), block: info.size_bytes, tag })
    }

    fn pointer(&self, live: &Live) -> NonNull<u8> {
        NonNull::new(self.raw.at(live.offset)).unwrap()
    }

    fn verify(&self, live: &Live) {
        // SAFETY: live, filled when taken.
        let bytes = unsafe { std::slice::from_raw_parts(self.pointer(live).as_ptr(), live.usable) };
        assert!(bytes.iter().all(|byte| *byte == live.tag), "a block was overwritten");
    }

    fn give(&self, live: &Live) {
        self.verify(live);
        // SAFETY: live; the layout it was asked with.
        unsafe { self.deallocate(self.pointer(live), live.layout) };
    }

    /// Makes a block shorter, if the heap does that.
    fn shrink(&self, live: &mut Live, size: usize) -> bool {
        let mut published = None;
        let publish: &mut dyn FnMut(usize) = &mut |usable| published = Some(usable);
        // SAFETY: live; it is used as far as the new size from now on.
        let usable = unsafe { self.shrink_in_place(self.pointer(live), live.layout, size, publish) };
        assert_eq!(usable, published);
        let Some(usable) = usable else { return false };
        assert!(usable >= size && usable <= live.usable);
        live.usable = usable;
        live.layout = layout(size, live.layout.align());
        live.block = self.block_at(live.offset).unwrap().size_bytes;
        true
    }

    fn assert_whole(&self) {
        assert_eq!(self.raw.check(true), []);
        assert_eq!(self.stats().bad_frees, 0);
    }

    fn assert_unused(&self) {
        self.assert_whole();
        let stats = self.stats();
        assert_eq!((stats.used_bytes, stats.free_bytes), (0, stats.capacity_bytes));
        self.for_each_live_block(&mut |block| panic!("{block:?} is live"));
    }
}

/// A reproducible stream of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A segment of each page size: greatest capacity, capacity.
const PROFILES: [(u64, u64); 3] = [(1 << 20, 1 << 20), (8 << 20, 8 << 20), (64 << 20, 16 << 20)];

#[test]
fn every_size_and_alignment() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        let page = heap.raw.page_bytes() as usize;
        let sizes =
            (0..300).chain((300..2 * page).step_by(97)).chain([page, page + 1, 3 * page, 7 * page - 1]);
        for size in sizes {
            for align in (0..=12).map(|bit| 1 << bit) {
                let one = heap.take(layout(size, align), 1).unwrap();
                let two = heap.take(layout(size, align), 2).unwrap();
                assert!(one.offset.abs_diff(two.offset) >= one.block);
                let info = BlockInfo { offset: one.offset, size_bytes: one.block };
                for at in [0, one.block / 2, one.block - 1] {
                    assert_eq!(heap.block_at(one.offset + at), Some(info));
                }
                heap.give(&two);
                // Freed with the usable size instead of the one asked for.
                // SAFETY: live; a size up to the usable one.
                unsafe { heap.deallocate(heap.pointer(&one), layout(one.usable, align)) };
                assert_eq!(heap.block_at(one.offset), None);
            }
        }
        heap.assert_unused();
        let huge = layout(64, 8192);
        assert!(matches!(heap.allocate(huge), Err(AllocError::TooLarge { wanted_bytes: 64, align: 8192 })));
    }
}

#[test]
fn until_full_and_back_in_every_order() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let heap = segment.attach();
        for size in [16, 24, 64, 100, 1000, 2048, 5000, 20_000, 70_000] {
            let mut best = 0;
            for order in 0..3 {
                let mut blocks: Vec<_> =
                    std::iter::from_fn(|| heap.take(layout(size, 8), size as u8).ok()).collect();
                assert!(blocks.len() >= best, "less was had the second time");
                best = blocks.len();
                let error = heap.allocate(layout(size, 8)).unwrap_err();
                let AllocError::OutOfMemory { wanted_bytes, largest_free_bytes } = error else {
                    panic!("{error}")
                };
                assert_eq!(wanted_bytes, size as u64);
                assert!(largest_free_bytes < size as u64);
                let class = heap.raw.classes.of(size, 8).map(|class| *heap.raw.classes.get(class).unwrap());
                let pages = capacity / heap.raw.page_bytes();
                let expected = match class {
                    Some(class) => pages * u64::from(class.blocks),
                    None => pages / heap.pages_for(size),
                };
                assert_eq!(blocks.len() as u64, expected, "not all of the capacity was had");
                match order {
                    0 => {}
                    1 => blocks.reverse(),
                    _ => {
                        let mut random = Random(size as u64);
                        for i in (1..blocks.len()).rev() {
                            blocks.swap(i, random.below(i as u64 + 1) as usize);
                        }
                    }
                }
                // One block free: exactly one can be had.
                heap.give(&blocks.pop().unwrap());
                blocks.push(heap.take(layout(size, 8), size as u8).unwrap());
                assert!(heap.allocate(layout(size, 8)).is_err());
                blocks.iter().for_each(|block| heap.give(block));
                heap.assert_unused();
            }
        }
        // Nothing is left over that would keep the whole heap from being one block.
        let whole = heap.take(layout(capacity as usize, 4096), 9).unwrap();
        heap.give(&whole);
        heap.assert_unused();
    }
}

#[test]
fn two_mappings_are_two_processes() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let (one, two) = (segment.attach(), segment.attach());
        let mut blocks = Vec::new();
        let mut random = Random(3);
        for i in 0..2000u64 {
            let from = if i % 2 == 0 { &one } else { &two };
            blocks.push(from.take(layout(random.below(600) as usize, 8), i as u8).unwrap());
        }
        let mut seen = Vec::new();
        one.for_each_live_block(&mut |block| seen.push((block.offset, block.size_bytes)));
        let mut expected: Vec<_> = blocks.iter().map(|block| (block.offset, block.block)).collect();
        expected.sort();
        assert_eq!(seen, expected);
        assert_eq!(one.stats(), two.stats());
        for (i, block) in blocks.iter().enumerate() {
            // Freed by the other one.
            if i % 2 == 0 { two.give(block) } else { one.give(block) }
        }
        drop(two);
        one.assert_unused();
    }
}

#[test]
fn a_process_that_detaches_leaves_its_pages_to_others() {
    let segment = Segment::new(64 << 10, 64 << 10, false);
    let one = segment.attach();
    let kept: Vec<_> = (0..10).map(|i| one.take(layout(40 + i * 8, 8), 1).unwrap()).collect();
    drop(one);
    let two = segment.attach();
    let committed = two.stats().committed_bytes;
    let more: Vec<_> = (0..10).map(|i| two.take(layout(40 + i * 8, 8), 2).unwrap()).collect();
    assert_eq!(two.stats().committed_bytes, committed, "the pages in use had room");
    kept.iter().chain(&more).for_each(|block| two.give(block));
    two.assert_unused();
}

#[test]
fn spans_grow_where_they_stand() {
    for (max, capacity) in PROFILES {
        let segment = Segment::new(max, capacity, false);
        let (heap, other) = (segment.attach(), segment.attach());
        let page = heap.raw.page_bytes() as usize;
        let mut block = heap.take(layout(page, 8), 7).unwrap();
        let mut size = page;
        while size < capacity as usize {
            size = (size + size / 2 + 1).min(capacity as usize);
            // SAFETY: live, with the layout it has.
            let usable = unsafe { heap.grow_in_place(heap.pointer(&block), block.layout, size) };
            let usable = usable.expect("everything behind it is free");
            assert!(usable >= size && usable < size + page);
            heap.verify(&block);
            block = Live { layout: layout(size, 8), usable, ..block };
            // SAFETY: ours up to the new length.
            unsafe { heap.pointer(&block).write_bytes(7, usable) };
        }
        // SAFETY: as above.
        assert_eq!(unsafe { heap.grow_in_place(heap.pointer(&block), block.layout, size + 1) }, None);
        other.give(&block);
        heap.assert_unused();

        let (low, high) = (heap.take(layout(page, 8), 1).unwrap(), heap.take(layout(page, 8), 2).unwrap());
        assert_eq!(low.offset + page as u64, high.offset);
        // SAFETY: as above.
        assert_eq!(unsafe { heap.grow_in_place(heap.pointer(&low), low.layout, page + 1) }, None);
        other.give(&high);
        // SAFETY: as above.
        let grown = unsafe { heap.grow_in_place(heap.pointer(&low), low.layout, page + 1) };
        assert_eq!(grown, Some(poison::handed_out(page + 1, 2 * page)));
        // The size it was asked with still frees it.
        heap.give(&low);
        let small = heap.take(layout(20, 1), 1).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { heap.grow_in_place(heap.pointer(&small), small.layout, 24) }, Some(24));
        // SAFETY: as above.
        assert_eq!(unsafe { heap.grow_in_place(heap.pointer(&small), small.layout, 25) }, None);
        heap.give(&small);
        heap.assert_unused();
    }
}

#[derive(Debug, Clone)]
enum Op {
    Allocate(usize, u32),
    Free(usize),
    Grow(usize, usize),
    Shrink(usize, usize),
    Before(usize, usize),
    Trim,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = prop_oneof![6 => 0..300usize, 3 => 300..5000usize, 1 => 5000..200_000usize];
    let op = prop_oneof![
        5 => (size.clone(), prop_oneof![8 => 0..4u32, 1 => 4..13u32]).prop_map(|(s, a)| Op::Allocate(s, a)),
        4 => any::<usize>().prop_map(Op::Free),
        1 => (any::<usize>(), size.clone()).prop_map(|(i, s)| Op::Grow(i, s)),
        1 => (any::<usize>(), size).prop_map(|(i, s)| Op::Shrink(i, s)),
        1 => (any::<usize>(), 5000..200_000usize).prop_map(|(i, s)| Op::Before(i, s)),
        1 => Just(Op::Trim),
    ];
    proptest::collection::vec(op, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_a_map_of_ranges(profile in 0..3usize, ops in ops()) {
        let (max, capacity) = PROFILES[profile];
        let segment = Segment::new(max, capacity, false);
        let heaps = [segment.attach(), segment.attach()];
        let mut model: BTreeMap<u64, Live> = BTreeMap::new();
        for (n, op) in ops.into_iter().enumerate() {
            let heap = &heaps[n % 2];
            match op {
                Op::Allocate(size, align) => {
                    let Ok(block) = heap.take(layout(size, 1 << align), n as u8) else { continue };
                    let before = model.range(..=block.offset).next_back();
                    prop_assert!(before.is_none_or(|(at, live)| at + live.block <= block.offset));
                    let after = model.range(block.offset..).next();
                    prop_assert!(after.is_none_or(|(at, _)| *at >= block.offset + block.block));
                    model.insert(block.offset, block);
                }
                Op::Free(i) if !model.is_empty() => {
                    let at = *model.keys().nth(i % model.len()).unwrap();
                    heap.give(&model.remove(&at).unwrap());
                }
                Op::Grow(i, size) if !model.is_empty() => {
                    let at = *model.keys().nth(i % model.len()).unwrap();
                    let live = model.get_mut(&at).unwrap();
                    heap.verify(live);
                    // SAFETY: live, with the layout it has.
                    let grown = unsafe { heap.grow_in_place(heap.pointer(live), live.layout, size) };
                    if let Some(usable) = grown {
                        prop_assert!(usable >= size);
                        if usable > live.usable {
                            live.usable = usable;
                            live.block = heap.block_at(live.offset).unwrap().size_bytes;
                            live.layout = layout(size, live.layout.align());
                            // SAFETY: ours up to the new length.
                            unsafe { heap.pointer(live).write_bytes(live.tag, usable) };
                        }
                    }
                }
                Op::Shrink(i, size) if !model.is_empty() => {
                    let at = *model.keys().nth(i % model.len()).unwrap();
                    let live = model.get_mut(&at).unwrap();
                    heap.verify(live);
                    if size <= live.usable {
                        heap.shrink(live, size);
                    }
                }
                Op::Before(i, size) if !model.is_empty() => {
                    let at = *model.keys().nth(i % model.len()).unwrap();
                    let mut live = model[&at];
                    let is_span = heap.raw.classes.of(live.layout.size(), live.layout.align()).is_none();
                    if is_span && let Ok(expanded) = heap.expand_backward(at, size, 2 * size) {
                        prop_assert!(expanded.usable >= size && expanded.offset <= at);
                        heap.verify(&live);
                        model.remove(&at);
                        (live.offset, live.usable) = (expanded.offset, expanded.usable);
                        live.layout = layout(live.usable, live.layout.align());
                        live.block = heap.block_at(live.offset).unwrap().size_bytes;
                        // SAFETY: ours, with the pages before it.
                        unsafe { heap.pointer(&live).write_bytes(live.tag, live.usable) };
                        prop_assert!(model.insert(live.offset, live).is_none());
                    }
                }
                Op::Trim => assert!(heap.trim().is_ok()),
                _ => {}
            }
        }
        let mut seen = Vec::new();
        heaps[0].for_each_live_block(&mut |block| seen.push((block.offset, block.size_bytes)));
        prop_assert_eq!(seen, model.values().map(|b| (b.offset, b.block)).collect::<Vec<_>>());
        let used: u64 = model.values().map(|block| block.block).sum();
        prop_assert_eq!(heaps[1].stats().used_bytes, used);
        heaps[0].assert_whole();
        model.values().for_each(|block| heaps[1].give(block));
        heaps[0].assert_unused();
    }
}

/// Allocates and frees mixed sizes, handing every other block to another thread to be freed, until `bytes` have been
/// allocated by each thread.
fn churn(heaps: &[&Process], bytes: u64, largest: u64, seed: u64) {
    let mailboxes: Vec<Mutex<Vec<Live>>> = heaps.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for (me, heap) in heaps.iter().enumerate() {
            let mailboxes = &mailboxes;
            scope.spawn(move || {
                let (mut random, mut mine, mut done) = (Random(seed + me as u64), Vec::new(), 0);
                while done < bytes {
                    let size = match random.below(16) {
                        0 => random.below(largest),
                        1..4 => random.below(3000),
                        _ => random.below(300),
                    };
                    match heap.take(layout(size as usize, 1 << random.below(5)), random.next() as u8) {
                        Ok(block) => {
                            done += block.usable as u64;
                            mine.push(block);
                        }
                        Err(_) => {
                            done += size;
                            mine.drain(..).for_each(|block| heap.give(&block));
                        }
                    }
                    if random.below(8) == 0 {
                        let received = std::mem::take(&mut *mailboxes[me].lock().unwrap());
                        received.iter().for_each(|block| heap.give(block));
                    }
                    while mine.len() > 60 || (!mine.is_empty() && random.below(3) == 0) {
                        let block = mine.swap_remove(random.below(mine.len() as u64) as usize);
                        match random.below(2) {
                            0 => heap.give(&block),
                            _ => mailboxes[random.below(mailboxes.len() as u64) as usize]
                                .lock()
                                .unwrap()
                                .push(block),
                        }
                    }
                }
                mine.iter().for_each(|block| heap.give(block));
            });
        }
    });
    for mailbox in mailboxes {
        mailbox.into_inner().unwrap().iter().for_each(|block| heaps[0].give(block));
    }
}

#[test]
fn a_hundred_times_the_capacity_from_four_threads() {
    for (max, capacity) in [(256 << 10, 256 << 10), (4 << 20, 512 << 10)] {
        let segment = Segment::new(max, capacity, false);
        let (one, two) = (segment.attach(), segment.attach());
        churn(&[&one, &one, &two, &two], 25 * capacity, capacity / 4, 11);
        one.assert_unused();
        let whole = one.take(layout(capacity as usize, 8), 1).unwrap();
        two.give(&whole);
    }
}

/// The other process of [`processes_share_a_heap`]; does nothing by itself.
#[test]
fn role_of_another_process() {
    let Ok(role) = std::env::var("SHMEM_HEAP_ROLE") else { return };
    let (path, seed) = role.split_once(' ').unwrap();
    let fd = rustix::fs::open(path, rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).unwrap();
    let limit = AtomicU64::new(u64::MAX);
    let (calls, holes) = (AtomicU64::new(0), AtomicU32::new(HOLES));
    let file = File { fd, calls_left: AtomicU64::new(u64::MAX), limit, calls, holes };
    let mut id = [0u8; 16];
    id[0] = seed.as_bytes()[0];
    let segment = Segment { file: Arc::new(file), header: FixedHeader::new(1 << 20, id, 1) };
    let heap = segment.attach();
    let endless = std::env::var("SHMEM_HEAP_ENDLESS").is_ok();
    println!("ready");
    loop {
        churn(&[&heap, &heap], 4 << 20, 100_000, seed.parse().unwrap());
        if !endless {
            break;
        }
    }
}

fn spawn(segment: &Segment, seed: u32, endless: bool) -> std::process::Child {
    let path = format!("/proc/{}/fd/{}", std::process::id(), segment.file.fd.as_raw_fd());
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "heap::tests::role_of_another_process", "--nocapture"]);
    command.env("SHMEM_HEAP_ROLE", format!("{path} {seed}"));
    if endless {
        command.env("SHMEM_HEAP_ENDLESS", "1");
    }
    command.stdout(std::process::Stdio::piped()).spawn().unwrap()
}

fn wait_until_ready(child: &mut std::process::Child) {
    use std::io::{BufRead, BufReader};
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")), "the process did not start");
}

#[test]
#[cfg_attr(shmem_poison, ignore = "one process cannot know what another allocates")]
fn processes_share_a_heap() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    let children: Vec<_> = (0..3).map(|seed| spawn(&segment, seed, false)).collect();
    churn(&[&heap], 8 << 20, 100_000, 77);
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    heap.assert_unused();
}

#[test]
#[cfg_attr(shmem_poison, ignore = "one process cannot know what another allocates")]
fn killed_processes_cost_what_they_held_and_no_more() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    for round in 0..12u64 {
        let mut child = spawn(&segment, round as u32 % 10, true);
        wait_until_ready(&mut child);
        std::thread::sleep(std::time::Duration::from_micros(1500 * round + 300));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(heap.check(), []);
        // What the dead one held is unreachable; everything else works on.
        let mut found = Vec::new();
        heap.for_each_live_block(&mut |block| found.push(block));
        for block in found {
            let live = NonNull::new(heap.raw.at(block.offset)).unwrap();
            // SAFETY: nobody is left who uses it; its usable size is one to free it with.
            unsafe { heap.deallocate(live, layout(block.size_bytes as usize, 8)) };
        }
        let lost = heap.stats().used_bytes;
        assert!(lost <= (round + 1) * 2 * 100_000, "{lost} bytes are lost after {} kills", round + 1);
        churn(&[&heap, &heap], 1 << 20, 5000, round);
        assert_eq!(heap.check(), []);
        assert_eq!(heap.stats().bad_frees, 0);
    }
}

#[test]
fn claimants_of_large_spans_never_miss_memory_that_is_there() {
    let segment = Segment::new(1 << 20, 1 << 20, true);
    let heaps = [segment.attach(), segment.attach()];
    // Four claimants of a quarter each, and four of which two always fit.
    std::thread::scope(|scope| {
        for i in 0..4 {
            let heap = &heaps[i % 2];
            scope.spawn(move || {
                for round in 0..500 {
                    match heap.take(layout(256 << 10, 4096), i as u8) {
                        Ok(block) => heap.give(&block),
                        Err(e) => panic!("round {round}: {e}"),
                    }
                }
            });
        }
    });
    heaps[0].assert_unused();
}

#[test]
fn a_claim_left_behind_is_waited_for_once() {
    let segment = Segment::new(64 << 10, 64 << 10, true);
    let heap = segment.attach();
    // As a process killed while claiming four pages leaves them: page 3 claimed, one body claimed.
    let head = heap.raw.change(3, Word(0), PageState::Claiming, Claimant::Unknown(4).payload()).unwrap();
    heap.raw.change(4, Word(0), PageState::Body, 1).unwrap();
    heap.raw.unlist(FREE_LIST, 3, 4);
    assert_eq!(heap.raw.claim_len(3, head), 4);
    assert_eq!(heap.check(), []);
    assert_ne!(heap.raw.check(true), []);
    // 14 pages are left: 3 before, 2 of the claim that were never reached, 9 behind.
    let start = std::time::Instant::now();
    let pages: Vec<_> = std::iter::from_fn(|| heap.take(layout(4096, 8), 1).ok()).collect();
    assert_eq!(pages.len(), 14);
    let first = start.elapsed();
    assert!(heap.allocate(layout(4096, 8)).is_err());
    assert!(start.elapsed() - first < first, "waited again");
    assert_eq!(heap.stats().used_bytes, 64 << 10);
    pages.iter().for_each(|page| heap.give(page));
    assert_eq!(heap.stats().used_bytes, 8 << 10);
    assert_eq!(heap.check(), []);
}

#[test]
fn a_page_left_retiring_is_used_again() {
    let segment = Segment::new(64 << 10, 64 << 10, true);
    let (dead, heap) = (segment.attach(), segment.attach());
    let block = dead.take(layout(64, 8), 1).unwrap();
    let (page, _) = heap.raw.page_of(block.offset).unwrap();
    let word = heap.raw.word(page);
    heap.raw.change(page, word, PageState::Retiring, word.payload()).unwrap();
    assert_eq!(heap.check(), []);
    let blocks: Vec<_> = std::iter::from_fn(|| heap.take(layout(64, 8), 2).ok()).collect();
    assert_eq!(blocks.len(), 1023, "the retiring page gave its blocks");
    heap.give(&block);
    blocks.iter().for_each(|block| heap.give(block));
    heap.assert_unused();
}

#[test]
fn lost_hints_are_found_again_before_the_heap_grows() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    let blocks: Vec<_> = (0..2000).map(|_| heap.take(layout(64, 8), 1).unwrap()).collect();
    let (keep, free) = blocks.split_at(200);
    free.iter().for_each(|block| heap.give(block));
    let committed = heap.stats().committed_bytes;
    // Every list and mark is lost.
    for page in 0..heap.raw.committed() {
        for list in 0..=FREE_LIST {
            heap.raw.unlist(list, page, 1);
        }
    }
    let again: Vec<_> = (0..1800).map(|_| heap.take(layout(64, 8), 2).unwrap()).collect();
    assert_eq!(heap.stats().committed_bytes, committed);
    again.iter().chain(keep).for_each(|block| heap.give(block));
    heap.assert_unused();
}

#[test]
fn memory_is_committed_as_it_is_needed() {
    // A tiny segment: 64 KiB, everything together.
    let segment = Segment::new(64 << 10, 64 << 10, false);
    let heap = segment.attach();
    assert!(segment.file_bytes() <= 32 << 10, "{}", segment.file_bytes());
    let blocks: Vec<_> = (0..40).map(|i| heap.take(layout(64 + i % 2, 8), 1).unwrap()).collect();
    assert!(segment.file_blocks_bytes() <= 32 << 10, "{}", segment.file_blocks_bytes());
    blocks.iter().for_each(|block| heap.give(block));
    // SAFETY: the first page is mapped.
    let required = unsafe { Heap::required_file_bytes(heap.mapping.base(), &segment.header) }.unwrap();
    assert_eq!(required, segment.file_bytes());

    let segment = Segment::new(64 << 30, 64 << 20, false);
    assert_eq!(segment.file.calls.load(Ordering::SeqCst), 3);
    let heap = segment.attach();
    assert_eq!(heap.stats().committed_bytes, 128 << 10);
    assert!(segment.file_blocks_bytes() <= 256 << 10, "{}", segment.file_blocks_bytes());
    let mut steps = vec![heap.stats().committed_bytes];
    let mut blocks = Vec::new();
    while let Ok(block) = heap.allocate(layout(60_000, 8)) {
        blocks.push(block);
        let committed = heap.stats().committed_bytes;
        if committed != *steps.last().unwrap() {
            steps.push(committed);
        }
    }
    assert_eq!(blocks.len(), 1024);
    // Twice as much up to 1 MiB, 1 MiB more up to 8, an eighth more from there on.
    assert_eq!(steps[..5], [17, 18, 19, 20, 21].map(|bit| 1 << bit));
    assert_eq!(steps[5..12], [3, 4, 5, 6, 7, 8, 9].map(|mebibytes| mebibytes << 20));
    assert!(steps[11..].windows(2).all(|pair| pair[1] > pair[0] && pair[1] <= pair[0] + pair[0] / 8));
    assert_eq!(steps.last(), Some(&(64 << 20)));
    // Raising the capacity makes room at once.
    heap.mapping.capacity().store(128 << 20, Ordering::SeqCst);
    let span = heap.take(layout(60 << 20, 8), 5).unwrap();
    heap.give(&span);
    for block in blocks {
        // SAFETY: live; the layout it was asked with.
        unsafe { heap.deallocate(block.cast(), layout(60_000, 8)) };
    }
    heap.assert_unused();

    let segment = Segment::new(1 << 20, 512 << 10, true);
    assert_eq!(segment.attach().stats().committed_bytes, 512 << 10);
}

#[test]
fn commit_failures_pass_through_and_are_survived() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    segment.file.calls_left.store(0, Ordering::SeqCst);
    let blocks: Vec<_> = std::iter::from_fn(|| heap.take(layout(64, 8), 1).ok()).collect();
    assert_eq!(blocks.len(), 128, "what was committed is used up first");
    assert!(matches!(heap.allocate(layout(64, 8)), Err(FULL)));
    assert!(matches!(heap.allocate(layout(100_000, 8)), Err(FULL)));
    heap.assert_whole();
    // Room for one more page only: smaller steps are tried.
    segment.file.calls_left.store(u64::MAX, Ordering::SeqCst);
    segment.file.limit.store(heap.raw.page_at(heap.raw.committed() + 1), Ordering::SeqCst);
    let page = heap.take(layout(4096, 8), 2).unwrap();
    assert!(matches!(heap.allocate(layout(4096, 8)), Err(FULL)));
    // Freed memory serves while the store is full.
    heap.give(&page);
    heap.give(&heap.take(layout(4000, 8), 2).unwrap());
    segment.file.limit.store(u64::MAX, Ordering::SeqCst);
    heap.give(&heap.take(layout(100_000, 8), 2).unwrap());
    blocks.iter().for_each(|block| heap.give(block));
    heap.assert_unused();
}

#[test]
fn every_failing_commit_leaves_the_heap_whole() {
    for fail_at in 0..12 {
        let segment = Segment::new(64 << 20, 8 << 20, false);
        let heap = segment.attach();
        segment.file.calls_left.store(fail_at, Ordering::SeqCst);
        let sizes = [100_000, 64, 300_000, 1_000_000, 5000, 2_000_000];
        let blocks: Vec<_> = sizes.iter().filter_map(|size| heap.take(layout(*size, 8), 3).ok()).collect();
        heap.assert_whole();
        segment.file.calls_left.store(u64::MAX, Ordering::SeqCst);
        blocks.iter().for_each(|block| heap.give(block));
        heap.assert_unused();
        heap.give(&heap.take(layout(8 << 20, 8), 4).unwrap());
    }
}

static REPORTED: AtomicU32 = AtomicU32::new(0);

#[test]
fn bad_frees_are_counted_and_not_obeyed() {
    let segment = Segment::new(1 << 20, 1 << 20, false);
    let heap = segment.attach();
    let before = set_bad_free_hook(Some(|bad| {
        assert!(!bad.why.is_empty());
        REPORTED.fetch_add(1, Ordering::SeqCst);
    }));
    let block = heap.take(layout(64, 8), 1).unwrap();
    let span = heap.take(layout(10_000, 8), 2).unwrap();
    let free = |offset: u64, size| {
        let at = NonNull::new(heap.mapping.base().as_ptr().wrapping_add(offset as usize)).unwrap();
        // SAFETY: none: this is the misuse that must be without effect.
        unsafe { heap.deallocate(at, layout(size, 8)) };
    };
    let bad = [
        (block.offset + 8, 64),
        (block.offset, 128),
        (block.offset + 64, 64),
        (block.offset, 10_000),
        (span.offset + 4096, 10_000),
        (span.offset, 64),
        (span.offset, 20_000),
        (0, 64),
        (HEAP_AT, 64),
        (segment.header.end - 64, 64),
        (segment.header.end + (1 << 40), 64),
        (segment.header.end - 4096, 4096),
    ];
    for (offset, size) in bad {
        free(offset, size);
    }
    heap.verify(&block);
    heap.verify(&span);
    assert_eq!(heap.stats().bad_frees, bad.len() as u64);
    heap.give(&block);
    heap.give(&span);
    free(block.offset, 64);
    free(span.offset, 10_000);
    assert_eq!(heap.stats().bad_frees, bad.len() as u64 + 2);
    assert!(REPORTED.load(Ordering::SeqCst) >= bad.len() as u32 + 2);
    set_bad_free_hook(before);
    assert_eq!(heap.check(), []);
    assert_eq!(heap.stats().used_bytes, 0);
}

#[test]
fn damaged_tables_cause_no_harm() {
    let (mut random, mut refused, mut noticed) = (Random(5), 0, 0);
    for round in 0..400u64 {
        let segment = Segment::new(1 << 20, 512 << 10, false);
        let heap = segment.attach();
        let mut blocks = Vec::new();
        for _ in 0..60 {
            blocks.push(heap.take(layout(random.below(9000) as usize, 8), 1).unwrap());
        }
        let half = blocks.split_off(30);
        half.iter().for_each(|block| heap.give(block));
        drop(heap);
        {
            let mapping = Mapping::new(&segment.file.fd, segment.header.end as usize);
            for _ in 0..1 + random.below(20) {
                let table = segment.header.descriptors_at;
                let at = match round % 4 {
                    0 => HEAP_AT + random.below(24),
                    1 => table + random.below(64) * DESCRIPTOR_BYTES + random.below(8),
                    2 => table + random.below(64 * DESCRIPTOR_BYTES),
                    _ => segment.header.bitmaps_at + random.below(64 * 32),
                };
                // SAFETY: a committed byte of the tables; nobody else looks.
                unsafe {
                    let byte = mapping.base().as_ptr().add(at as usize);
                    byte.write(byte.read() ^ random.next() as u8);
                }
            }
        }
        let Ok(heap) = segment.try_attach() else {
            refused += 1;
            continue;
        };
        // Had the file been opened, this would have been found.
        // SAFETY: the first page is mapped.
        let required = unsafe { Heap::required_file_bytes(heap.mapping.base(), &segment.header) };
        if required.is_none_or_longer(segment.file_bytes()) {
            refused += 1;
            continue;
        }
        noticed += u32::from(!heap.check().is_empty());
        let inside = |block: NonNull<[u8]>| {
            let offset = heap.offset_of(block.cast());
            let committed = heap.raw.page_at(heap.raw.committed());
            assert!(offset >= segment.header.data_at && offset + block.len() as u64 <= committed);
        };
        for _ in 0..50 {
            let layout = layout(random.below(20_000) as usize, 8);
            heap.allocate(layout).into_iter().for_each(inside);
        }
        for block in &blocks {
            // SAFETY: as far as anybody knows it is live.
            unsafe {
                heap.grow_in_place(heap.pointer(block), block.layout, 20_000);
                heap.deallocate(heap.pointer(block), block.layout);
            }
        }
        heap.stats();
        heap.check();
        heap.for_each_live_block(&mut |block| assert!(block.offset >= segment.header.data_at));
        for _ in 0..200 {
            heap.block_at(random.below(segment.header.end));
        }
    }
    assert!(refused > 50 && noticed > 50, "{refused} refused, {noticed} noticed");
}

trait NoneOrLonger {
    fn is_none_or_longer(&self, file_bytes: u64) -> bool;
}

impl NoneOrLonger for Result<u64, Corrupt> {
    fn is_none_or_longer(&self, file_bytes: u64) -> bool {
        self.is_err() || self.as_ref().is_ok_and(|required| *required > file_bytes)
    }
}

#[test]
fn every_flipped_bit_of_the_header_is_survived() {
    for bit in 0..24 * 8u64 {
        let segment = Segment::new(64 << 10, 64 << 10, false);
        let mapping = Mapping::new(&segment.file.fd, segment.header.end as usize);
        // SAFETY: a byte of the first page; nobody else looks.
        unsafe {
            let byte = mapping.base().as_ptr().add((HEAP_AT + bit / 8) as usize);
            byte.write(byte.read() ^ 1 << (bit % 8));
        }
        // SAFETY: the first page is mapped.
        let required = unsafe { Heap::required_file_bytes(mapping.base(), &segment.header) };
        if required.is_none_or_longer(segment.file_bytes()) {
            continue;
        }
        let heap = segment.attach();
        let block = heap.take(layout(64, 8), 1).unwrap();
        heap.give(&block);
        assert_eq!(heap.check(), []);
    }
}

#[test]
fn threads_of_one_slot_do_not_lose_pages() {
    // Far more threads than slots, all of one class, in a heap with room for exactly what they hold.
    let segment = Segment::new(256 << 10, 256 << 10, false);
    let heap = segment.attach();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for i in 0..12u8 {
            let (heap, stop) = (&heap, &stop);
            scope.spawn(move || {
                for _ in 0..300 {
                    // 12 × 80 blocks of 256 bytes are 240 KiB: there is always one for everybody.
                    let blocks: Vec<_> = (0..80).map(|_| heap.take(layout(256, 8), i).unwrap()).collect();
                    blocks.iter().for_each(|block| heap.give(block));
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    });
    heap.assert_unused();
}

mod large;

/// What AddressSanitizer sees; the first half runs in a child that it is to stop.
#[cfg(shmem_poison)]
mod poisoned {
    use super::*;

    fn child(role: &str) {
        let segment = Segment::new(1 << 20, 1 << 20, false);
        let (heap, other) = (segment.attach(), segment.attach());
        let block = heap.take(layout(50, 1), 1).unwrap();
        match role {
            "none" => heap.give(&block),
            // SAFETY: none: the sanitizer is to stop each of these.
            "overrun" => unsafe { heap.pointer(&block).add(50).write_volatile(1) },
            "after free" => {
                heap.give(&block);
                // SAFETY: as above.
                unsafe { other.pointer(&block).write_volatile(1) }
            }
            // SAFETY: as above.
            "unused" => unsafe { other.pointer(&block).add(3000).write_volatile(1) },
            _ => unreachable!(),
        }
    }

    #[test]
    fn overruns_and_uses_after_free_are_caught() {
        if let Ok(role) = std::env::var("SHMEM_HEAP_POISON") {
            return child(&role);
        }
        for role in ["none", "overrun", "after free", "unused"] {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "heap::tests::poisoned::overruns_and_uses_after_free_are_caught"])
                .env("SHMEM_HEAP_POISON", role)
                .output()
                .unwrap();
            let caught = String::from_utf8_lossy(&output.stderr).contains("use-after-poison");
            assert_eq!(caught, role != "none", "{role}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.status.success(), role == "none");
        }
    }
}

/// What is live now, all of it reached.
fn all_reached(heap: &Heap) -> super::Reached {
    let mut reached = heap.none_reached();
    heap.for_each_live_block(&mut |block| assert!(reached.insert(block) && !reached.insert(block)));
    reached
}

#[test]
fn a_sweep_gives_back_what_is_not_reached_and_nothing_else() {
    for capacity in [256 << 10, 8 << 20, 64 << 20] {
        let segment = Segment::new(capacity, capacity, false);
        let process = segment.attach();
        let mut random = 7u64;
        let mut live: BTreeMap<u64, usize> = BTreeMap::new();
        let (mut kept, mut wanted, mut spans) = (Vec::new(), BTreeMap::new(), 0);
        for i in 0..400usize {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let size = [16, 24, 40, 100, 128, 500, 1500, 3000, 20_000, 70_000][(random >> 33) as usize % 10];
            let Ok(block) = process.allocate(Layout::from_size_align(size, 8).unwrap()) else { continue };
            let offset = process.offset_of(block.cast());
            live.insert(offset, size);
            let info = process.block_at(offset).unwrap();
            if i % 3 == 0 {
                kept.push(info);
            } else if info.size_bytes < process.page_bytes() {
                *wanted.entry(info.size_bytes).or_insert(0) += 1;
            } else {
                spans += 1;
            }
        }
        let before = process.stats().used_bytes;
        let mut reached = process.none_reached();
        assert!(kept.iter().all(|block| reached.insert(*block)));
        let kept: u64 = kept.iter().map(|block| block.size_bytes).sum();
        let swept = process.sweep(&reached);
        let found: BTreeMap<u64, u64> = swept.classes.iter().map(|c| (c.block_bytes, c.blocks)).collect();
        assert_eq!((found, swept.spans, swept.stray_pages), (wanted, spans, 0));
        assert!(process.stats().used_bytes < before);
        assert_eq!((process.stats().used_bytes, reached.bytes), (kept, kept));
        for offset in live.keys() {
            assert_eq!(process.block_at(*offset).is_some(), reached.contains(*offset));
        }
        assert_eq!(process.raw.check(true), []);
        assert_eq!(process.sweep(&reached), super::sweep::Swept::default(), "there is nothing more");
        // What was given back can be had.
        let all = all_reached(&process);
        assert_eq!((all.blocks, all.bytes), (reached.blocks, kept));
        process.sweep(&process.none_reached());
        assert_eq!(process.stats().used_bytes, 0);
        process.allocate(Layout::from_size_align(capacity as usize * 9 / 10, 8).unwrap()).unwrap();
    }
}

#[test]
fn a_sweep_takes_apart_what_deaths_have_left() {
    let segment = Segment::new(8 << 20, 8 << 20, true);
    let process = segment.attach();
    let raw = &process.raw;
    let span = process.allocate(Layout::from_size_align(40_000, 8).unwrap()).unwrap();
    let small = process.allocate(Layout::from_size_align(64, 8).unwrap()).unwrap();
    let reached = all_reached(&process);
    let clean = process.stats().used_bytes;
    let (span_page, _) = raw.page_of(process.offset_of(span.cast())).unwrap();
    let (small_page, _) = raw.page_of(process.offset_of(small.cast())).unwrap();
    let set = |page, state, payload| assert!(raw.change(page, raw.word(page), state, payload).is_some());
    // A claim with two of its bodies.
    set(100, PageState::Claiming, 5);
    set(101, PageState::Body, 1);
    set(102, PageState::Body, 2);
    // Pages about to be appended to the span, and the first already is, but for the head.
    let len = raw.word(span_page).payload();
    set(span_page + len + 1, PageState::Body, len + 1);
    if span_page + len != small_page {
        set(span_page + len, PageState::Body, len);
    }
    // A page that somebody looked at, and bits of nobody's: beyond the blocks, and in a free page.
    set(small_page, PageState::Retiring, raw.word(small_page).payload());
    let class = raw.classes.get(raw.word(small_page).payload() as usize).unwrap();
    raw.bits(small_page, class.blocks / 64).fetch_or(1 << (class.blocks % 64), Ordering::SeqCst);
    [100, 101, 200].into_iter().for_each(|page| raw.bits(page, 1).store(5, Ordering::SeqCst));
    // Pages whose memory was about to be given back.
    set(300, PageState::Punching, 2);
    set(301, PageState::Body, 1);
    assert!(!raw.check(true).is_empty());
    let swept = process.sweep(&reached);
    assert!((6..=7).contains(&swept.stray_pages), "{swept:?}");
    assert_eq!((swept.spans, swept.classes.len()), (0, 0));
    assert_eq!((process.stats().used_bytes, raw.check(true)), (clean, vec![]));
    assert_eq!(process.sweep(&reached).stray_pages, 0);
}

#[test]
fn raw_blocks_are_no_leaks() {
    let segment = Segment::new(8 << 20, 8 << 20, true);
    let process = segment.attach();
    let mut all = Vec::new();
    for size in [24, 32, 32, 40, 1000, 20_000, 20_000, 50_000] {
        for i in 0..3 {
            let is_raw = i != 1;
            let layout = Layout::from_size_align(size, 8).unwrap();
            let block = if is_raw { process.allocate_raw(layout) } else { process.allocate(layout) };
            all.push((process.offset_of(block.unwrap().cast()), is_raw));
        }
    }
    let raw_ones = || {
        let mut reached = process.none_reached();
        process.for_each_raw_block(&mut |block| assert!(reached.insert(block)));
        reached
    };
    let reached = raw_ones();
    assert_eq!(reached.blocks, 16);
    let swept = process.sweep(&reached);
    assert_eq!(swept.classes.iter().map(|class| class.blocks).sum::<u64>() + swept.spans, 8);
    for (offset, is_raw) in &all {
        assert_eq!(process.block_at(*offset).is_some(), *is_raw);
        assert_eq!(process.is_raw(*offset), *is_raw);
    }
    assert_eq!(process.stats().used_bytes, reached.bytes);
    let again = raw_ones();
    assert_eq!((again.blocks, again.bytes), (reached.blocks, reached.bytes), "they are raw still");
    assert_eq!(process.sweep(&again), super::sweep::Swept::default());
    // A mark without a block is nobody's.
    let (page, _) = process.raw.page_of(all[3].0).unwrap();
    let class = process.raw.classes.get(process.raw.word(page).payload() as usize).unwrap();
    assert!(class.blocks > 20);
    let bit = process.raw.first_mark() * 64 + class.blocks - 1;
    process.raw.bits(page, bit / 64).fetch_or(1 << (bit % 64), Ordering::SeqCst);
    assert!(!process.raw.check(true).is_empty());
    process.sweep(&raw_ones());
    assert_eq!(process.raw.check(true), []);
}
