//! The heap: blocks of all sizes, allocated by one process and freed by another.
//!
//! Each desk has places in the ledger, and in each at most one live block: where it stands and how large it is. A block
//! is noted after it was allocated and struck out before it is freed, and processes exchange blocks by swapping words
//! of the ledger. So what the ledger names is live, whoever dies, and what a death loses is what its worker had in hand.
//! A live block bears its mark at both ends, and a free one does not:
//!
//! - a block that is handed out with a mark is somebody's already,
//! - a block that has lost its mark was written to by somebody else, or freed and handed out again.
//!
//! Some blocks are raw, and now and then somebody overwrites what is free. The audit counts what is live; what the heap says
//! is in use beyond that was leaked. The last audit recovers the leaks, to the last byte.

use super::ledger::{DESKS, Desk};
use super::{Scene, Suite, die};
use crate::Random;
use shmem_core::{Segment, ShmMutex};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst, compiler_fence};

/// See the [module](self).
pub struct Heap;

const PLACES: usize = 300;
const EXCHANGED: usize = 64;

/// The suite's words: the places of each desk, what is to be exchanged, and what was in use when nothing was allocated:
/// bytes, then blocks.
const EXCHANGE: usize = DESKS * PLACES;
const AT_FIRST: usize = EXCHANGE + EXCHANGED;
/// What was leaked up to the last audit: bytes, then blocks.
const LEAKED: usize = AT_FIRST + 2;

const BYTES_LEAKED: usize = 0;
const SELF_KILLED: usize = 1;

/// One time in so many, a worker overwrites what is free.
const ZEROING: u64 = 100_000;

/// A class each, most of them small; then spans.
const SIZES: [usize; 24] = [
    16, 24, 32, 40, 48, 64, 64, 64, 64, 80, 96, 128, 160, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 32_768,
    65_536, 200_000,
];

/// A block that the ledger names.
#[derive(Clone, Copy)]
struct Block {
    offset: u64,
    size: usize,
    /// Whether it was allocated as bytes.
    raw: bool,
}

impl Block {
    fn word(self) -> u64 {
        u64::from(self.raw) << 63 | (self.size as u64) << 40 | self.offset
    }

    fn of(word: u64) -> Option<Block> {
        let size = (word >> 40 & 0x7F_FFFF) as usize;
        (word != 0).then_some(Block { offset: word & ((1 << 40) - 1), size, raw: word >> 63 != 0 })
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.size, 8).expect("a size of the table's")
    }

    /// What stands at both of its ends while it is live.
    fn mark(self) -> u64 {
        (self.word() ^ 0x5EED_B10C).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
    }
}

pub(super) fn open(scene: &Scene) -> Segment {
    Segment::shared(scene.base()).size(512 << 20).open_or_create().unwrap()
}

/// One thread at work.
pub(super) struct Worker<'s> {
    scene: &'s Scene,
    segment: Segment,
    desk: Desk,
    random: Random,
    places: &'static [AtomicU64],
    exchange: &'static [AtomicU64],
}

impl<'s> Worker<'s> {
    pub(super) fn new(scene: &'s Scene, thread: usize, desk: Desk) -> Self {
        desk.doing("open", 0);
        let (segment, words) = (open(scene), scene.ledger().suite());
        let first = scene.seat(thread) * PLACES;
        let places = &words[first..first + PLACES];
        let exchange = &words[EXCHANGE..EXCHANGE + EXCHANGED];
        Worker { scene, segment, desk, random: scene.random(thread), places, exchange }
    }

    /// The segment, as this worker has it mapped.
    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    fn end(&self, block: Block, last: bool) -> *mut u64 {
        let base = self.segment.access().context().base();
        let at = block.offset as usize + if last { (block.size - 8) & !7 } else { 0 };
        base.wrapping_add(at).cast()
    }

    fn marks(&self, block: Block) -> [u64; 2] {
        // SAFETY: the ends of a block of this heap's: mapped, aligned to 8. Should two have it, that is what is looked for.
        [false, true].map(|last| unsafe { self.end(block, last).read_volatile() })
    }

    fn write(&self, block: Block, mark: u64) {
        for last in [false, true] {
            // SAFETY: as in `marks`.
            unsafe { self.end(block, last).write_volatile(mark) }
        }
    }

    fn allocate(&mut self, i: usize) {
        let size = match self.random.below(400) {
            0 => *self.random.pick(&SIZES[20..]),
            1..20 => *self.random.pick(&SIZES[14..20]),
            _ => *self.random.pick(&SIZES[..14]),
        };
        self.desk.doing("allocate", size as u64);
        let mut block = Block { offset: 0, size, raw: self.random.below(4) == 0 };
        let got = match block.raw {
            true => self.segment.allocate(block.layout()),
            false => self.segment.access().allocate(block.layout()),
        };
        let got = match got {
            Ok(got) => got.cast::<u8>(),
            Err(e) => return self.scene.corrupt(format!("{size} bytes: {e}")),
        };
        block.offset = (got.addr().get() - self.segment.access().context().base().addr()) as u64;
        if self.marks(block) == [block.mark(); 2] {
            self.scene.double(format!("{size} bytes at {} were handed out twice", block.offset));
        }
        self.write(block, block.mark());
        compiler_fence(SeqCst);
        self.chance(50_000);
        self.places[i].store(block.word(), SeqCst);
        if self.scene.sabotages("twice", &mut self.random, 3000) {
            self.places[(i + 1) % PLACES].store(block.word(), SeqCst);
        }
    }

    fn free(&mut self, i: usize, block: Block) {
        self.desk.doing("free", block.size as u64);
        self.look_at(block);
        self.places[i].store(0, SeqCst);
        self.chance(50_000);
        self.write(block, 0);
        let at = NonNull::new(self.end(block, false).cast()).expect("no block stands at 0");
        let times = if self.scene.sabotages("free", &mut self.random, 3000) { 2 } else { 1 };
        for _ in 0..times {
            // SAFETY: allocated with this layout, and named by nobody any more. (A second time it is reported, if it is
            // found out, and else handed out twice: that is what the sabotage is for.)
            unsafe {
                match block.raw {
                    true => self.segment.deallocate(at, block.layout()),
                    false => self.segment.access().deallocate(at, block.layout()),
                }
            }
            if times == 2 {
                (0..100).for_each(|_| self.allocate_and_free());
            }
        }
    }

    /// Has the block that was just freed leave the thread's hands.
    fn allocate_and_free(&self) {
        let access = self.segment.access();
        let layout = Layout::from_size_align(64, 8).expect("a layout");
        let blocks: Vec<_> = (0..30).filter_map(|_| access.allocate(layout).ok()).collect();
        // SAFETY: just allocated.
        blocks.into_iter().for_each(|block| unsafe { access.deallocate(block.cast(), layout) });
    }

    fn look_at(&self, block: Block) {
        let marks = self.marks(block);
        if marks != [block.mark(); 2] {
            self.scene.double(format!(
                "{} bytes at {} are another's: {marks:x?} instead of {:x}",
                block.size,
                block.offset,
                block.mark()
            ));
        }
    }

    /// One operation at a random place; one time in `zeroing`, what is free is overwritten.
    pub(super) fn step(&mut self, zeroing: u64) {
        if self.random.below(zeroing) == 0 {
            self.desk.doing("overwrite what is free", 0);
            self.segment.zero_free_memory();
        }
        // Now many are live, now few.
        let among = if self.random.below(2000) < 1000 { PLACES as u64 } else { 40 };
        let i = self.random.below(among) as usize;
        match Block::of(self.places[i].load(SeqCst)) {
            None => self.allocate(i),
            Some(block) if self.random.below(8) == 0 => {
                self.desk.doing("exchange", block.size as u64);
                self.look_at(block);
                self.places[i].store(0, SeqCst);
                let other = self.random.pick(self.exchange).swap(block.word(), SeqCst);
                self.places[i].store(other, SeqCst);
            }
            Some(block) => self.free(i, block),
        }
        self.desk.done();
    }

    /// One time in `odds`, the end of this process.
    fn chance(&mut self, odds: u64) {
        if self.scene.dies(&mut self.random, odds, SELF_KILLED) {
            die();
        }
    }
}

pub(super) fn prepare(scene: &Scene) {
    let segment = open(scene);
    drop(segment.construct::<ShmMutex<u64>>("lock", ShmMutex::new(0)).unwrap());
    for (i, number) in in_use(&segment).into_iter().enumerate() {
        scene.ledger().suite()[AT_FIRST + i].store(number, SeqCst);
    }
}

/// Bytes and blocks in use; a page that somebody has claimed is a block.
fn in_use(segment: &Segment) -> [u64; 2] {
    let memory = segment.memory();
    let small: u64 = memory.classes.iter().map(|class| class.live).sum();
    [memory.used_bytes, small + memory.spans + memory.claimed_pages]
}

pub(super) fn audit(scene: &Scene, thread: usize, desk: Desk) {
    let worker = Worker::new(scene, thread, desk);
    let (segment, words) = (&worker.segment, scene.ledger().suite());
    desk.doing("recover", 0);
    segment.recover();
    desk.doing("check", 0);
    scene.check(segment, "audit");
    if segment.memory().bad_frees > 0 {
        scene.corrupt(format!("{} frees were refused", segment.memory().bad_frees));
    }
    let (mut live, mut bytes) = (BTreeMap::new(), 0);
    for block in words[..AT_FIRST].iter().filter_map(|word| Block::of(word.load(SeqCst))) {
        worker.look_at(block);
        let at = worker.end(block, false).cast::<u8>();
        if segment.usable_size(NonNull::new(at).expect("no block stands at 0")).is_some() != block.raw {
            scene.corrupt(format!("the block at {} is raw, or is not: {}", block.offset, block.raw));
        }
        // What the heap took for it.
        bytes += segment.access().block_at(at).map_or(0, |found| found.size_bytes);
        if live.insert(block.offset, block.size as u64).is_some() {
            scene.double(format!("the block at {} is in two places", block.offset));
        }
    }
    for ((offset, size), (next, _)) in live.iter().zip(live.iter().skip(1)) {
        if offset + size > *next {
            scene.double(format!("the blocks at {offset} and {next} overlap"));
        }
    }
    let named = [bytes, live.len() as u64];
    let mut leaked = [0; 2];
    for (i, (used, named)) in in_use(segment).into_iter().zip(named).enumerate() {
        let at_first = words[AT_FIRST + i].load(SeqCst);
        let Some(now) = used.checked_sub(named + at_first) else {
            let what = ["bytes", "blocks"][i];
            scene.double(format!("{used} {what} are in use; {named} are named, {at_first} at first"));
            return;
        };
        leaked[i] = now.saturating_sub(words[LEAKED + i].swap(now, SeqCst));
    }
    scene.count(BYTES_LEAKED, leaked[0]);
    scene.leaked(leaked[1]);
    if scene.is_last() {
        drop(worker);
        leave_nothing(scene, desk);
    }
}

/// Gives everything back: first what the ledger names and no object owns, then what was leaked, then raw blocks, which are
/// nobody's leaks but the program's, and at last the only object. Then nothing is allocated.
fn leave_nothing(scene: &Scene, desk: Desk) {
    let (mut segment, words) = (open(scene), scene.ledger().suite());
    let base = segment.access().context().base();
    let at = |offset: u64| NonNull::new(base.wrapping_add(offset as usize)).expect("no block stands at 0");
    for word in &words[..AT_FIRST] {
        match Block::of(word.load(SeqCst)) {
            // SAFETY: allocated with this layout; nobody else is at work.
            Some(block) if !block.raw => unsafe {
                segment.access().deallocate(at(block.offset), block.layout());
            },
            _ => continue,
        }
        word.store(0, SeqCst);
    }
    desk.doing("verify", 0);
    match segment.verify() {
        Ok(report) if report.is_sound() => {}
        Ok(report) => scene.corrupt(report.to_string()),
        Err(e) => scene.corrupt(format!("verify: {e}")),
    }
    desk.doing("recover leaks", 0);
    match segment.recover_leaks() {
        Ok(report) if report.live_bytes == segment.used() => {}
        Ok(report) => scene.corrupt(format!("{} bytes are in use; {report}", segment.used())),
        Err(e) => scene.corrupt(format!("recover_leaks: {e}")),
    }
    let mut raw: BTreeMap<u64, Block> = (words[..AT_FIRST].iter())
        .filter_map(|word| Block::of(word.swap(0, SeqCst)))
        .map(|block| (block.offset, block))
        .collect();
    for (handle, usable) in segment.raw_blocks() {
        let address = segment.address_of(handle).expect("a block has memory");
        let offset = (address.addr().get() - base.addr()) as u64;
        let size = raw.remove(&offset).map_or(usable, |block| block.size);
        // SAFETY: raw, of at most this size, and nobody else is at work.
        unsafe { segment.deallocate(address, Layout::from_size_align(size, 8).expect("a layout")) };
    }
    if let Some(block) = raw.into_values().next() {
        scene.corrupt(format!("a raw block of {} bytes at {} was swept", block.size, block.offset));
    }
    desk.doing("destroy", 0);
    match segment.destroy::<ShmMutex<u64>>("lock") {
        Ok(true) if segment.all_memory_deallocated() => {}
        outcome => scene.corrupt(format!("{outcome:?}: something is left\n{}", segment.memory())),
    }
    scene.check(&segment, "after all");
}

impl Suite for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    fn about(&self) -> &'static str {
        "blocks of all sizes: none in two hands, none freed while live, little lost"
    }

    fn counts(&self) -> &'static [&'static str] {
        &["bytes leaked", "killed by themselves"]
    }

    fn sabotages(&self) -> &'static [&'static str] {
        &["twice", "free"]
    }

    fn prepare(&self, scene: &Scene) {
        prepare(scene);
    }

    fn work(&self, scene: &Scene) {
        let threads = 1 + scene.random(0).below(2) as usize;
        scene.threads(threads, |thread, desk| {
            let mut worker = Worker::new(scene, thread, desk);
            while scene.goes_on() {
                worker.step(ZEROING);
            }
        });
    }

    fn recover(&self, scene: &Scene) {
        scene.recover_on_and_on(|| open(scene));
    }

    fn audit(&self, scene: &Scene) {
        scene.threads(1, |thread, desk| audit(scene, thread, desk));
    }
}
